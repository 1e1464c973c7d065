// The products of a batch's rows with the matrices of each row's adapter.

#include "ffi.h"

#include <stdlib.h>
#include <string.h>

#define EACH "bgmv_row.h"
#include "processors.h"

typedef void row_function(float *y, const void *x, const void *a, const void *b, int64_t n, int64_t in, int64_t out);

// LEAST multiplications are worth the waking of another thread, MODULES is how many there may be.
enum { LEAST = 1 << 18, MODULES = 8 };

typedef struct {
	job job; // a piece is a row
	row_function *row;
	int bf16, modules;
	int64_t in, columns;
	const void *x, *a, *b[MODULES];
	const int32_t *ranges;
	float *y[MODULES];
	int64_t out[MODULES];
} bgmv;

// row_of is where a row of a matrix begins.
static const void *row_of(const void *p, int64_t row, int64_t width, int bf16) {
	return (const char *)p + row * width * (bf16 ? 2 : 4);
}

static void piece(job *j, int64_t r) {
	const bgmv *w = (const bgmv *)j;
	int64_t from = w->ranges[2 * r], n = w->ranges[2 * r + 1] - from;
	for (int i = 0; i < w->modules; i++) {
		const void *a = row_of(w->a, i * w->columns + from, w->in, w->bf16);
		const void *b = row_of(w->b[i], from, w->out[i], w->bf16);
		w->row(w->y[i] + r * w->out[i], row_of(w->x, r, w->in, w->bf16), a, b, n, w->in, w->out[i]);
	}
}

ffi_error *ffi_bgmv(call_frame *call) {
	int64_t modules = call->results.count;
	buffer **in = call->args.list, **out = call->results.list;
	if (modules < 1 || modules > MODULES || call->args.count != 3 + modules)
		return ffi_fail(call, "bgmv: takes x, ranges, A and one B for each of at most 8 results");
	const buffer *x = in[0], *ranges = in[1], *a = in[2];
	if (x->rank != 2 || (x->dtype != DTYPE_F32 && x->dtype != DTYPE_BF16)) return ffi_fail(call, "bgmv: x is no matrix of f32 or bf16");
	int64_t rows = x->dims[0], columns = a->rank == 2 ? a->dims[0] / modules : 0;
	if (!ffi_matrix(ranges, DTYPE_S32, rows, 2)) return ffi_fail(call, "bgmv: ranges is not [rows, 2] s32");
	if (!ffi_matrix(a, x->dtype, modules * columns, x->dims[1])) return ffi_fail(call, "bgmv: A is not [modules·columns, in] of x's type");
	int64_t outputs = 0, width = 0; // of all modules, and ranges
	for (int i = 0; i < modules; i++) {
		const buffer *b = in[3 + i];
		if (b->rank != 2 || !ffi_matrix(b, x->dtype, columns, b->dims[1]) || !ffi_matrix(out[i], DTYPE_F32, rows, b->dims[1]))
			return ffi_fail(call, "bgmv: a B is not [columns, out] of x's type, or its result not [rows, out] f32");
		outputs += b->dims[1];
	}
	for (int64_t r = 0; r < rows; r++) {
		int32_t from = ((int32_t *)ranges->data)[2 * r], to = ((int32_t *)ranges->data)[2 * r + 1];
		if (from < 0 || to < from || to > columns) return ffi_fail(call, "bgmv: a range is not among the columns");
		width += to - from;
	}
	bgmv *w = malloc(sizeof *w);
	if (w == NULL) return ffi_fail(call, "bgmv: no memory");
	*w = (bgmv){.job = {.piece = piece, .pieces = rows}, .row = x->dtype == DTYPE_BF16 ? FASTEST(row_bf16) : FASTEST(row_f32), .bf16 = x->dtype == DTYPE_BF16,
		.modules = (int)modules, .in = x->dims[1], .columns = columns, .x = x->data, .a = a->data, .ranges = ranges->data};
	for (int i = 0; i < modules; i++) w->b[i] = in[3 + i]->data, w->y[i] = out[i]->data, w->out[i] = in[3 + i]->dims[1];
	ffi_run(call, &w->job, width * (modules * w->in + outputs) / LEAST);
	return NULL;
}
