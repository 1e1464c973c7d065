// Package route chooses the inference worker for a request and sees the request through: it goes where its base and its
// adapter are and where room is, to another worker when the first one refuses it or dies before its first word, and it is
// refused with the time to try again when there is no room anywhere. It knows no tokens and no HTTP.
//
//	adverts of workers ──► table ──► Rank ──► ask the best ──► chunks ──► requester
//	                         ▲                   │ refused, or gone before the first chunk
//	                         └───────────────────┘ ask the next one
//	                                             │ gone after the first chunk
//	                                             └► worker_lost
//
// Requests wait at the workers, not here: each worker's queue is bounded, has a deadline and lets the adapters take turns,
// whoever sends to it. What waits here is only a request for which no worker is there at all, as in the moments of a restart.
package route
