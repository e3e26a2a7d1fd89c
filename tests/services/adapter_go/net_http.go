package main

import (
	"io"
	"net/http"
)

func init() {
	client := &http.Client{}
	bound = "none; 2 idle for each host, 100 in all (MaxIdleConnsPerHost, MaxIdleConns), IdleConnTimeout 90 s"
	ask := func() (*http.Response, error) { return client.Get("http://127.0.0.1:8080/big") }
	burst = func(count int) error {
		var all []*http.Response
		for range count {
			answer, err := ask()
			if err != nil {
				return err
			}
			all = append(all, answer)
		}
		for _, answer := range all {
			if _, err := io.Copy(io.Discard, answer.Body); err != nil {
				return err
			}
			answer.Body.Close()
		}
		return nil
	}
	leak = func() error {
		answer, err := ask()
		kept = append(kept, answer)
		return err
	}
}
