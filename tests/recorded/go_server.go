// Package main is a default net/http server: /, /big (a body that doesn't come at once) and /stuck, whose handler waits for what never comes.
package main

import "net/http"

func main() {
	big := make([]byte, 3_000_000)
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok")) })
	http.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { w.Write(big) })
	http.HandleFunc("/stuck", func(http.ResponseWriter, *http.Request) { <-make(chan int) })
	panic(http.ListenAndServe("127.0.0.1:8080", nil))
}
