// Package job says what a fine-tuning job is: the request as a person types it, the resolved spec
// and its id, the states and the transitions between them, and the classes of errors. It moves
// nothing and stores nothing; package bus does.
//
// # States
//
//	received ──► validating ──► tokenizing ──► queued ──► training ──► publishing ──► succeeded
//	    │            │              │            │ ▲         │ │ ▲          │
//	    │            │              │            │ └─resume──┘ │ └─handed   │
//	    │            │              │            ▼             ▼   back     │
//	    │            │              │          paused ◄─── (pause)          │
//	    ├────────────┴──────────────┴────────────┴─────────────┴────────────┤
//	    ▼                                                                   ▼
//	cancelling ──► cancelled                                              failed
//
// Every state that is not final may go to failed. Every state before publishing may go to
// cancelling. A trainer that is stopped hands the job back, training → queued; one that finds a job
// in publishing, whose worker died, goes on from its checkpoint, publishing → training. A paused job
// holds a checkpoint and returns to queued by resume. succeeded, failed and cancelled are final. A
// failed or cancelled job can be sent again: the same request has the same id, and received replaces
// the final state (a new run of the same job, epoch + 1).
//
// # Identity
//
// The id of a job is a digest of its canonical request: the same request is the same job, whoever
// sends it and however its JSON is laid out. The spec adds what validation resolved: the digests of
// base and dataset.
package job
