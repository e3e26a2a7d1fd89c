// A server with Go's defaults: MPTCP, keepalive after 15 s. It reads each connection to its end and closes it,
// or, told to, forgets it.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("listens")
	var forgotten []net.Conn
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		forgets := os.Args[2] == "forgets"
		if forgets {
			// Else the garbage collector closes it.
			forgotten = append(forgotten, connection)
		}
		go func() {
			io.Copy(io.Discard, connection)
			if !forgets {
				connection.Close()
			}
		}()
	}
}
