// Package logsink writes a log as cheaply as a line for every request asks for:
// a [Sink] gathers lines and writes many of them at once.
//
// It decides neither where a log goes nor what is in it.
package logsink
