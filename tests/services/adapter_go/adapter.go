// Package main answers the commands of client.py for Go: adapter.py's lines, with what a client's file sets.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

var (
	bound       string
	burst       func(count int) error
	leak        func() error
	kept        []any
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var err error
		word, rest, _ := strings.Cut(lines.Text(), " ")
		told := "ok"
		switch word {
		case "burst":
			count := 0
			fmt.Sscan(rest, &count)
			err = burst(count)
		case "one":
			err = burst(1)
		case "leak":
			err = leak()
		case "bound":
			told = bound
		}
		if err != nil {
			told = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(told)
	}
}
