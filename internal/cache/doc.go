// Package cache is a Fetcher before a Fetcher: it answers from what it has, and
// keeps what it fetches.
//
// Content that has a digest is kept for as long as there is room, in a
// [blobstore.Store], and is never served before its bytes have been hashed. A
// blob on its way in is a fill: one download, shared by all that read it at any
// offset, from as many upstreams as it takes (docs/architecture.md, "The fill"). A manifest
// is small, and its bytes stay in memory too.
//
// What a tag means is believed for a while and then asked again, with a HEAD
// that costs no pull. When no upstream can say, the last answer stands for a week,
// but never when one said no (docs/protocol.md 4.8, stale-if-error).
//
// A digest is no authority: what took a login to fetch is served through the
// repositories only that have proved access to it of late (CVE-2024-39897).
//
// Lists of tags and of referrers are kept as tags are, and so is the "no" to a question
// for what belongs to an image: its referrers, or the tags that have its signatures.
package cache
