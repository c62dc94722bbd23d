// Package simnet is a scriptable internet on loopback, in one process, for
// tests and for the demo: registries with token servers, CDNs and quotas,
// mirrors, a relay in the manner of the popular Worker, egress proxies, every
// fault of docs/faults.md 8 as a switch, and a ledger of all requests. It plays
// servers only, and knows nothing of the program that it is used on.
//
// # Use
//
//	n := simnet.New(simnet.Config{})
//	defer n.Close()
//	hub := n.AddHub(simnet.HubConfig{
//		Origin: simnet.Origin{Name: "hub"},
//		Images: []simnet.Image{{Repo: "library/alpine", Tags: []string{"3"}, Layers: []simnet.Layer{{Size: 1 << 20}}}},
//		Quota:  simnet.Quota{Limit: 100},
//	})
//	mirror := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}, Images: images})
//
//	// hub.URL() is https://127.0.0.1:port; n.CAPEM() is what belongs in ca_file.
//	hub.SetRemaining("127.0.0.1", 0)                                                // the quota is spent
//	hub.CDN.Inject(simnet.Fault{Cut: simnet.EndFIN, CutFraction: 0.4})              // every blob ends at 40 %
//	undo := mirror.Inject(simnet.Fault{On: simnet.Blobs, Flip: true, FlipAt: 1000}) // one bit is wrong
//	mirror.Break(simnet.ConnBlackhole)                                              // SYNs are dropped
//	...
//	undo()
//	mirror.Mend()
//	pulls := n.Ledger().Count(simnet.Filter{Server: "hub", Method: "GET", Class: simnet.Manifests})
//
// Everything may be switched while requests run. The names in the ledger are
// those of the configs; a hub's token server and CDN are "hub-auth" and
// "hub-cdn". Images are deterministic: the same literal has the same digests
// on every server and in every run, and [Image.Build] tells them.
//
// # Names and addresses
//
// A server's URL is https://127.0.0.1:port, and its certificate is good for
// that, localhost and its pretend names. The pretend names (hub.sim,
// auth.hub.sim, hub-cdn.sim, mirror.sim) work for clients that dial with
// [Net.Dial] or through a simulated egress proxy; [Origin].ByName puts them
// into realms and redirects. Any other name is NXDOMAIN, and no proxy reaches
// anything but loopback.
//
// # Exported API
//
//	New(Config{Host, Plain, HTTP2}) *Net
//	(*Net) Close, CAPEM, ClientPEM, CertPool, Client, Dial, Ledger, Server(name), Build(Image), Blackhole() addr,
//	       AddHub, AddAuth, AddCDN, AddMirror, AddRelay, AddConnectProxy, AddSOCKSProxy, AddOrigin
//	Origin{Name, Hosts, Addr, Plain, HTTP2, ByName, ClientAuth, Handler}, part of every config (Handler counts for AddOrigin alone)
//
//	*Server, part of everything that Add... returns:
//	       Name, Addr, URL, NameURL, PublicURL, SetRTT(d), CloseConnections,
//	       Inject(Fault) remove, Clear, Break(ConnFault), BreakNext(ConnFault, n), Mend
//	Fault{On, Method, Match, Unless, Ranged, Skip, Times | Delay, Drop, Garbage | Respond, Status, Body |
//	      Header, HeaderBytes, DateSkew, As, IgnoreRange, RangeShift, TotalShift, LengthShift, NoLength, Gzip,
//	      Flip, FlipAt, Cut, CutAt, CutFraction, BytesPerSec, FirstByteWait}
//	Ending: EndFIN, EndRST, EndStall, EndClean
//	ConnFault: ConnRefused, ConnBlackhole, ConnSilent, ConnReset, ConnClose, ConnExpiredCert, ConnWrongHost,
//	      ConnUnknownCA, ConnNotTLS, ConnRawSettings, ConnH2GoAway, ConnH2Refused, ConnH2Calm, ConnH2ResetMidway
//	Ready-made faults: TooMany, TooManyAfter, HubQuota429, HAP429, GHCR429, Cloudflare, Cloudflare1015, Cloudflare1027,
//	      HTML200, WrongType, WrongDigest, ExpiredURL, HugeManifest, HugeBody, RedirectTo, RedirectLoop, RedirectChain
//
//	Profiles() []Profile{Name, Registry, Host, Repo, Path, Keys, NoTags, NoReferrers, Start(*Net, Image) *Server}: registries and mirrors as they are
//	Quirks() []Quirk{Name, What, Harmless, Play(*Hub) undo}, OddRepo: what the world's registries do to a pull
//
//	HubConfig{Origin, Images, Backend, Open, Auth, Realm, Direct, CDN, Quota, NoReferrers, AbsoluteLinks}
//	*Hub{*Server, *Library, Auth, CDN}: SetQuota, Remaining, SetRemaining, SetRealm, RejectTokens
//	Quota{Limit, Window, RetryAfter, RetryDate, Malformed}
//	AuthConfig{Origin, Service, Users, Private, TTL, Field, NoExpires}; *Auth: Realm, Issue, ExpireTokens
//	CDNConfig{Origin, TTL}; *CDN: SignedURL, ExpireURLs
//	MirrorConfig{Origin, Images, Allow, AllowBlobs}; *Mirror{*Server, *Library}
//	*Library: Push, SetTag, DropManifest, DropBlob, Forget
//	RelayConfig{Origin, Hub, SourceIP}; *Relay
//	ProxyConfig{Origin, TLS, Username, Password, SourceIP}; *Proxy: URL, ProxyURL, Refuse(ProxyRefusal)
//	ProxyRefusal: ProxyWorks, ProxyBadLogin, ProxyUnreachable, ProxyRefused, ProxyDenied
//
//	Image{Repo, Tags, Layers, Platforms, Docker, Labels, ArtifactType, Subject}: Build
//	Layer{Size, Seed, Files, Raw}, BigLayer(size, seed)
//	*Content{Image, Root, Index, Manifests, Types, Configs, LayerList, Blobs}: Manifest, Layer(i), Path, ManifestPath, BlobPath
//	Descriptor, Platform, and the Type... media types
//
//	*Ledger: All, Find(Filter), Count(Filter), Bytes(Filter), Connections(server), Leaks(secret, allowed...), Reset, WaitIdle
//	Filter{Server, Method, Class, Repo, Ref, Path, Status, Ranged}
//	Entry{Seq, Time, Server, Method, Host, Path, Query, Class, Repo, Ref, Header, Authorization, Cert, Range, Remote, Proto,
//	      Status, Bytes, Done, Cut, Took}
//	Class: Ping, Manifests, Blobs, Tags, Referrers, Token, Connect, Other
//
// # The rows of docs/faults.md 8
//
//	F01 Break(ConnRefused)             F02 Break(ConnBlackhole), Blackhole()     F03 names that are not in the Net
//	F04 Break(ConnExpiredCert, ConnWrongHost, ConnUnknownCA); Fault.DateSkew     F05 Fault.Delay; Drop: EndStall; Break(ConnSilent)
//	F06 TooManyAfter, Quota.RetryAfter F07 TooMany, GHCR429                      F08 HubConfig.Quota, HubQuota429
//	F09 HAP429, Cloudflare1015         F10 Cloudflare1027                        F11-F13 Fault.Status, Cloudflare(status, code)
//	F14 ExpiredURL (Times: 1), CDN.ExpireURLs                                    F15 Hub.RejectTokens
//	F16 Library.Forget, DropBlob       F17 Library.SetTag, DropManifest          F18 Fault.Cut (NoLength and EndClean hide it)
//	F19 Fault.LengthShift              F20 Fault.Flip                            F21 Cut: EndStall, BytesPerSec
//	F22 RedirectLoop, RedirectChain    F23, F24 RedirectTo, Hub.SetRealm         F25 HugeManifest
//	F26 HTML200                        F27 WrongType                             F28 WrongDigest
//	F29 Fault.DateSkew                 F30 Auth.ExpireTokens, AuthConfig.TTL     F38, F39 Break, Mend, Skip, Times
//	F42 Proxy.Break(ConnRefused)       F43 Proxy.Refuse                          F44 Fault.HeaderBytes
//	F45 Break(ConnH2...) with HTTP2    F46 Fault.IgnoreRange, RangeShift, TotalShift   F47 Fault.Gzip
//
// Time is real time: loopback sockets do not run under testing/synctest.
package simnet
