// Package device opens the compute backend that the numbers run on (XLA on the CPU, XLA on CUDA, or pure Go),
// brings the XLA CPU plugin into the cache with a pinned checksum, and reads the facts of the machine that
// `descant doctor` shows. It knows nothing of models, and it never downloads anything while a backend is opened.
package device
