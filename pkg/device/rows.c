// Rows in f32.

#include "parts.h"
#include "rows.h"

#include <stdlib.h>
#include <string.h>

// ALONE is how many values one thread brings into f32 while another would wake up.
enum { ALONE = 1 << 17 };

typedef struct {
	job job; // a piece is a row
	const buffer *from;
	float *to;
	int64_t in, stride;
} widening;

static void piece(job *j, int64_t i) {
	const widening *w = (const widening *)j;
	float *to = w->to + i * w->stride;
	if (w->from->dtype == DTYPE_F32) {
		memcpy(to, (const float *)w->from->data + i * w->in, w->in * sizeof *to);
		return;
	}
	const uint16_t *from = (const uint16_t *)w->from->data + i * w->in;
	for (int64_t k = 0; k < w->in; k++) {
		uint32_t v = (uint32_t)from[k] << 16;
		memcpy(to + k, &v, sizeof v);
	}
}

// A line more than a row needs: rows that a large power of 2 lies between would take each other's places in the cache.
int64_t rows_stride(int64_t in) {
	const int64_t line = LINE / sizeof(float);
	return (parts(in, line) + 1) * line;
}

int rows_widen(const call_frame *call, float *to, const buffer *x) {
	int64_t rows = x->dims[0], in = x->dims[1];
	widening *w = malloc(sizeof *w);
	if (w == NULL) return 0;
	*w = (widening){.job = {.piece = piece, .pieces = rows}, .from = x, .to = to, .in = in, .stride = rows_stride(in)};
	ffi_run(call, &w->job, rows * in / ALONE);
	return 1;
}
