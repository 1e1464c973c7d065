// Command hubserver serves a checkpoint with the full shape of Qwen2.5-0.5B and random weights as
// Qwen/Qwen2.5-0.5B-Instruct, in the way of the Hugging Face hub, for trying things out without a network:
//
//	go run ./scripts/hubserver --dir /tmp/qwen05b --tokenizer <folder with tokenizer.json> --addr 127.0.0.1:8090
//	HF_ENDPOINT=http://127.0.0.1:8090 HF_HOME=/tmp/hf descant train --model Qwen/Qwen2.5-0.5B-Instruct …
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"descant/pkg/hub/hubtest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hubserver:", err)
		os.Exit(1)
	}
}

func run() error {
	dir := flag.String("dir", "", "folder of the checkpoint; made if it has no weights yet (1 GB)")
	tokenizer := flag.String("tokenizer", "", "folder with tokenizer.json and tokenizer_config.json, needed to make it")
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on")
	name := flag.String("name", "Qwen/Qwen2.5-0.5B-Instruct", "name of the repository")
	makeOnly := flag.Bool("make-only", false, "make the checkpoint and leave")
	flag.Parse()
	if *dir == "" {
		return errors.New("--dir is needed")
	}
	if *tokenizer != "" {
		if err := hubtest.IsTokenizerDir(*tokenizer); err != nil {
			return err
		}
	}
	if err := hubtest.MakeCheckpoint(*dir, *tokenizer, hubtest.Qwen05B()); err != nil {
		return err
	}
	if *makeOnly {
		return nil
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: &hubtest.Server{Repos: map[string]hubtest.Repo{*name: {Dir: *dir}}}, ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}
