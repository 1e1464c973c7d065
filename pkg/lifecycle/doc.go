// Package lifecycle is the shell of a process: configuration from one struct
// per package, logging, running a set of services with a stop in two steps,
// readiness, metrics. It knows nothing of jobs.
//
// Configuration goes through four layers, each over the one before:
//
//	Defaults()  →  YAML file  →  environment DESCANT_*  →  flags
//
// all derived from the fields of a struct. A field tagged yaml:"ack_wait" in a
// struct tagged yaml:"bus" is bus.ack_wait in the file, DESCANT_BUS_ACK_WAIT
// and --bus-ack-wait. A [Secret] has, in place of the flag, a file that holds
// it: bus.password_file, DESCANT_BUS_PASSWORD_FILE and --bus-password-file.
//
// A stop has two steps:
//
//	first signal  → ctx of every service ends: take no new work
//	   grace ...  → running work goes on under Working(ctx)
//	second signal, or the end of the grace → that ends too
package lifecycle
