// Command descant fine-tunes open chat models with LoRA adapters and talks to the results: the services
// of the pipeline, the commands that use a running system, and two that bring everything along.
//
// wiring.go puts services and servers together; every command has a file of its own.
package main

import (
	"os"
)

func main() {
	os.Exit(run(os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Environ()))
}
