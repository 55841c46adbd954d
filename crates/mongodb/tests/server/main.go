// A MongoDB server for the tests: FerretDB over SQLite. `testserver ADDRESS FOLDER` listens on ADDRESS and keeps its data in FOLDER, so that a
// server that is killed finds them again.
package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: testserver ADDRESS FOLDER")
	}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: os.Args[1]},
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Handler:   "sqlite",
		// A commit does not wait for the disk: a server that is killed loses nothing by it, only a machine that loses its power does.
		SQLiteURL: "file:" + os.Args[2] + "/?_pragma=synchronous(off)",
	})
	if err != nil {
		log.Fatal(err)
	}
	// The process that starts the server holds its standard input: the server ends with it, also when it is killed.
	ctx, end := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	if err := server.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
