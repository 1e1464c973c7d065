// The products of a batch's rows with the matrices of each row's adapter.

#include "bgmv.h"
#include "parts.h"

#include <stdlib.h>
#include <string.h>

// At most TOGETHER rows with one adapter go through its matrices together.
enum { TOGETHER = 4 };

#define EACH "bgmv_rows.h"
#include "processors.h"

typedef void rows_function(float *const *y, const void *const *x, int count, const void *a, const void *b, int64_t n, int64_t in, int64_t out);

// LEAST multiplications are worth the waking of another thread, MODULES is how many there may be.
enum { LEAST = 1 << 18, MODULES = 8 };

// group is some rows that have the same columns, those from one up to another.
typedef struct {
	int32_t from, to;
	int count;
	int64_t rows[TOGETHER];
} group;

typedef struct {
	job job; // a piece is a group
	rows_function *rows;
	int x16, bf16, modules; // whether x, and whether A and the Bs are of bf16
	int64_t in, columns;
	const void *x, *a, *b[MODULES];
	float *y[MODULES];
	int64_t out[MODULES], multiplications;
	group groups[];
} bgmv;

// row_of is where a row of a matrix begins.
static const void *row_of(const void *p, int64_t row, int64_t width, int bf16) {
	return (const char *)p + row * width * (bf16 ? 2 : 4);
}

static void piece(job *j, int64_t i) {
	const bgmv *w = (const bgmv *)j;
	const group *g = &w->groups[i];
	const void *x[TOGETHER];
	for (int r = 0; r < g->count; r++) x[r] = row_of(w->x, g->rows[r], w->in, w->x16);
	for (int m = 0; m < w->modules; m++) {
		float *y[TOGETHER];
		for (int r = 0; r < g->count; r++) {
			y[r] = w->y[m] + g->rows[r] * w->out[m];
			if (g->from == g->to) memset(y[r], 0, w->out[m] * sizeof *y[r]);
		}
		w->rows(y, x, g->count, row_of(w->a, m * w->columns + g->from, w->in, w->bf16), row_of(w->b[m], g->from, w->out[m], w->bf16),
			g->to - g->from, w->in, w->out[m]);
	}
}

// place puts a row into the last group with its columns that has room for it, or begins one.
static void place(bgmv *w, int64_t row, int32_t from, int32_t to, int most) {
	int64_t i = w->job.pieces - 1;
	while (i >= 0 && (w->groups[i].from != from || w->groups[i].to != to)) i--;
	if (i < 0 || w->groups[i].count == most) {
		i = w->job.pieces++;
		w->groups[i] = (group){.from = from, .to = to};
	}
	w->groups[i].rows[w->groups[i].count++] = row;
}

const char *bgmv_job(job **made, buffer *const *in, buffer *const *out, int64_t modules) {
	const buffer *x = in[0], *ranges = in[1], *a = in[2];
	if (modules < 1 || modules > MODULES) return "bgmv: takes 1 to 8 modules";
	if (x->rank != 2 || (x->dtype != DTYPE_F32 && x->dtype != DTYPE_BF16)) return "bgmv: x is no matrix of f32 or bf16";
	int64_t rows = x->dims[0], columns = a->rank == 2 ? a->dims[0] / modules : 0;
	if (!ffi_matrix(ranges, DTYPE_S32, rows, 2)) return "bgmv: ranges is not [rows, 2] s32";
	int x16 = x->dtype == DTYPE_BF16, bf16 = a->dtype == DTYPE_BF16;
	if (!ffi_matrix(a, bf16 ? DTYPE_BF16 : x->dtype, modules * columns, x->dims[1])) return "bgmv: A is not [modules·columns, in] of bf16 or of x's type";
	int64_t outputs = 0;
	for (int m = 0; m < modules; m++) {
		const buffer *b = in[3 + m];
		if (b->rank != 2 || !ffi_matrix(b, a->dtype, columns, b->dims[1]) || !ffi_matrix(out[m], DTYPE_F32, rows, b->dims[1]))
			return "bgmv: a B is not [columns, out] of A's type, or its result not [rows, out] f32";
		outputs += b->dims[1];
	}
	bgmv *w = malloc(sizeof *w + rows * sizeof *w->groups);
	if (w == NULL) return "bgmv: no memory";
	*w = (bgmv){.job = {.piece = piece}, .rows = x16 ? FASTEST(rows_bf16) : bf16 ? FASTEST(rows_rounded) : FASTEST(rows_f32), .x16 = x16,
		.bf16 = bf16, .modules = (int)modules, .in = x->dims[1], .columns = columns, .x = x->data, .a = a->data};
	for (int m = 0; m < modules; m++) w->b[m] = in[3 + m]->data, w->y[m] = out[m]->data, w->out[m] = in[3 + m]->dims[1];
	for (int64_t r = 0; r < rows; r++) {
		int32_t from = ((int32_t *)ranges->data)[2 * r], to = ((int32_t *)ranges->data)[2 * r + 1];
		if (from < 0 || to < from || to > columns) {
			free(w);
			return "bgmv: a range is not among the columns";
		}
		w->multiplications += (to - from) * (modules * w->in + outputs);
		place(w, r, from, to, FASTEST(together));
	}
	*made = &w->job;
	return NULL;
}

ffi_error *ffi_bgmv(call_frame *call) {
	job *j;
	if (call->args.count != 3 + call->results.count) return ffi_fail(call, "bgmv: takes x, ranges, A and one B for each result");
	const char *wrong = bgmv_job(&j, call->args.list, call->results.list, call->results.count);
	if (wrong != NULL) return ffi_fail(call, wrong);
	ffi_run(call, j, ((bgmv *)j)->multiplications / LEAST);
	return NULL;
}
