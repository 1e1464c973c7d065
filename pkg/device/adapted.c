// The product of rows with a packed matrix, and those with the matrices of each row's adapter, in one call: its threads are woken once, and neither product
// waits for the other's last piece.

#include "bgmv.h"
#include "packed.h"
#include "parts.h"

#include <stdlib.h>

typedef struct {
	job job; // a piece is one of either
	job *base, *adapters;
} adapted;

// piece takes those of the adapters evenly among those of the base, the first one first.
static void piece(job *j, int64_t i) {
	const adapted *w = (const adapted *)j;
	int64_t before = parts(i * w->adapters->pieces, j->pieces);
	if (parts((i + 1) * w->adapters->pieces, j->pieces) > before)
		w->adapters->piece(w->adapters, before);
	else
		w->base->piece(w->base, i - before);
}

ffi_error *ffi_adapted(call_frame *call) {
	buffer **in = call->args.list, **out = call->results.list;
	int64_t modules = call->results.count - 1;
	if (modules < 1 || call->args.count != 4 + modules)
		return ffi_fail(call, "adapted product: takes the packed matrix, x, ranges, A and one B for each result but the first");
	adapted *w = malloc(sizeof *w);
	if (w == NULL) return ffi_fail(call, "adapted product: no memory");
	*w = (adapted){.job = {.piece = piece}};
	const char *wrong = bgmv_job(&w->adapters, in + 1, out + 1, modules);
	if (wrong == NULL) wrong = packed_job(call, &w->base, in[1], in[0], out[0]);
	if (wrong != NULL) {
		free(w->adapters);
		free(w);
		return ffi_fail(call, wrong);
	}
	job *base = w->base, *adapters = w->adapters; // w is gone when it is done
	w->job.pieces = base->pieces + adapters->pieces;
	ffi_run(call, &w->job, w->job.pieces);
	free(base);
	free(adapters);
	return NULL;
}
