// What XLA's CPU client and its foreign functions here say to each other: of xla/ffi/api/c_api.h and
// xla/pjrt/c/pjrt_c_api_ffi_extension.h what is used. Their structs grow at the end only, as long as the versions stay that ffi.c compares.

#ifndef DESCANT_FFI_H
#define DESCANT_FFI_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { DTYPE_S32 = 4, DTYPE_U16 = 7, DTYPE_F32 = 11, DTYPE_BF16 = 16 };

typedef struct extension {
	size_t size;
	int type;
	struct extension *next;
} extension;

typedef struct {
	size_t size;
	extension *extensions;
	int major, minor;
} version;

typedef struct ffi_error ffi_error;
typedef struct ffi_context ffi_context;
typedef struct ffi_api ffi_api;

typedef struct {
	size_t size;
	extension *extensions;
	int dtype;
	void *data;
	int64_t rank;
	int64_t *dims;
} buffer;

typedef struct {
	size_t size;
	extension *extensions;
	int64_t count;
	int *types;
	buffer **list;
} buffers;

typedef struct {
	size_t size;
	extension *extensions;
	const ffi_api *api;
	ffi_context *context;
	int stage;
	buffers args, results;
} call_frame;

// A job is the work of a call while it is done: a struct that begins with it, from malloc. Its pieces are done by whoever has time: each
// takes the next one that nobody has.
typedef struct job {
	void (*piece)(struct job *, int64_t);
	int64_t pieces;
	atomic_int_fast64_t next, done;
	atomic_int holders;
} job;

// ffi_run does a job, with the help of at most helpers of XLA's threads, and frees it.
void ffi_run(const call_frame *, job *, int64_t helpers);

// ffi_processors is how many threads a job keeps busy at the most.
int64_t ffi_processors(void);

// ffi_fail is the error of a call whose operands are wrong.
ffi_error *ffi_fail(const call_frame *, const char *message);

// ffi_shaped tells whether b has a dtype and the sizes.
int ffi_shaped(const buffer *b, int dtype, int64_t rank, const int64_t *dims);

// ffi_matrix tells whether b is [rows, columns] of a dtype.
int ffi_matrix(const buffer *b, int dtype, int64_t rows, int64_t columns);

// What WithKernels in kernels.go says is computed by these.
ffi_error *ffi_bgmv(call_frame *);
ffi_error *ffi_attend(call_frame *);
ffi_error *ffi_packed(call_frame *);
ffi_error *ffi_linear(call_frame *);
ffi_error *ffi_pull(call_frame *);
ffi_error *ffi_adapted(call_frame *);
ffi_error *ffi_flash(call_frame *);
ffi_error *ffi_flash_pull(call_frame *);

#endif
