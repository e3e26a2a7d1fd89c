package main

import (
	"context"
	"database/sql"

	_ "github.com/lib/pq"
)

func init() {
	db, err := sql.Open("postgres", "host=127.0.0.1 user=postgres sslmode=disable")
	if err != nil {
		panic(err)
	}
	bound = "none; 2 idle (MaxOpenConns 0, MaxIdleConns 2)"
	burst = func(count int) error {
		var all []*sql.Conn
		for range count {
			one, err := db.Conn(context.Background())
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		for _, one := range all {
			if _, err := one.ExecContext(context.Background(), "select 1"); err != nil {
				one.Close()
				return err
			}
			one.Close()
		}
		return nil
	}
	leak = func() error {
		rows, err := db.Query("select 1")
		kept = append(kept, rows)
		return err
	}
}
