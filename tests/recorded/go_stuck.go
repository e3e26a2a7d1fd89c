package main

import (
	"net/http"
	"time"
)

// The client does nothing wrong: it waits a second for an answer, and closes. The server's handler forgets it.
func init() {
	patient := &http.Client{Timeout: time.Second}
	bound = "none"
	burst = func(count int) error {
		for range count {
			answer, err := http.Get("http://127.0.0.1:8080/")
			if err != nil {
				return err
			}
			answer.Body.Close()
		}
		return nil
	}
	leak = func() error {
		_, err := patient.Get("http://127.0.0.1:8080/stuck")
		return err
	}
}
