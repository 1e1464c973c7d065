#define _GNU_SOURCE
#include "ffi.h"
#include "kernels.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { FFI_MAJOR = 0, FFI_MINOR = 2, PJRT_MAJOR = 0, PJRT_MINOR = 81 };
enum { EXTENSION_FFI = 5, EXTENSION_METADATA = 1 };
enum { STAGE_EXECUTE = 3 };
enum { INVALID_ARGUMENT = 3 };

typedef struct {
	size_t size;
	extension *extensions;
	const char *message;
	int code;
} error_create_args;

typedef struct {
	size_t size;
	extension *extensions;
	ffi_error *error;
} error_destroy_args;

typedef struct {
	size_t size;
	extension *extensions;
	ffi_context *context;
	void (*task)(void *);
	void *data;
} schedule_args;

typedef struct {
	size_t size;
	extension *extensions;
	ffi_context *context;
	int64_t *threads;
} threads_args;

typedef struct {
	extension base;
	struct {
		size_t size;
		version version;
	} *metadata;
} metadata_extension;

typedef struct {
	size_t size;
	const char *name;
	size_t name_size;
	void *handler;
	const char *platform;
	size_t platform_size;
	int traits;
} register_args;

typedef struct {
	extension base;
	void *type_register, *user_data_add;
	void *(*register_handler)(register_args *);
} ffi_extension;

typedef struct {
	size_t size;
	extension *extensions;
	version version;
} pjrt_api;

struct ffi_api {
	size_t size;
	extension *extensions;
	version version;
	void *internal;
	ffi_error *(*error_create)(error_create_args *);
	void *error_message;
	void (*error_destroy)(error_destroy_args *);
	void *unused[8];
	ffi_error *(*schedule)(schedule_args *);
	ffi_error *(*threads)(threads_args *);
};

ffi_error *ffi_fail(const call_frame *call, const char *message) {
	error_create_args args = {sizeof args, NULL, message, INVALID_ARGUMENT};
	return call->api->error_create(&args);
}

int ffi_shaped(const buffer *b, int dtype, int64_t rank, const int64_t *dims) {
	return b->dtype == dtype && b->rank == rank && memcmp(b->dims, dims, rank * sizeof *dims) == 0;
}

int ffi_matrix(const buffer *b, int dtype, int64_t rows, int64_t columns) {
	const int64_t dims[] = {rows, columns};
	return ffi_shaped(b, dtype, 2, dims);
}

// processors is how many this process may keep busy; XLA has more threads than that.
static int64_t processors = 1;

int64_t ffi_processors(void) { return processors; }

static void work(job *j) {
	int64_t i;
	while ((i = atomic_fetch_add(&j->next, 1)) < j->pieces) {
		j->piece(j, i);
		atomic_fetch_add(&j->done, 1);
	}
}

static void release(job *j) {
	if (atomic_fetch_sub(&j->holders, 1) == 1) free(j);
}

static void help(void *data) {
	work(data);
	release(data);
}

// A helper that comes too late finds nothing to do; so nobody waits for one that never comes, and a call may stand on one of XLA's own
// threads while all others do so, too.
void ffi_run(const call_frame *call, job *j, int64_t helpers) {
	int64_t threads = 1;
	ffi_error *error = NULL;
	atomic_store(&j->holders, 1);
	if (helpers > 0) {
		threads_args args = {sizeof args, NULL, call->context, &threads};
		error = call->api->threads(&args);
	}
	if (threads > processors) threads = processors; // more would take turns
	if (helpers > threads - 1) helpers = threads - 1;
	if (helpers > j->pieces - 1) helpers = j->pieces - 1;
	for (; error == NULL && helpers > 0; helpers--) {
		atomic_fetch_add(&j->holders, 1);
		schedule_args args = {sizeof args, NULL, call->context, help, j};
		if ((error = call->api->schedule(&args)) != NULL) release(j);
	}
	if (error != NULL) { // without help
		error_destroy_args args = {sizeof args, NULL, error};
		call->api->error_destroy(&args);
	}
	work(j);
	for (int turns = 0; atomic_load(&j->done) < j->pieces; turns++) // what others have begun takes microseconds
		if (turns > 1000) sched_yield();
	release(j);
}

static ffi_error *handle(call_frame *call, ffi_error *(*function)(call_frame *)) {
	for (extension *e = call->extensions; e != NULL; e = e->next)
		if (e->type == EXTENSION_METADATA) { // asked when it is registered
			version *v = &((metadata_extension *)e)->metadata->version;
			v->major = call->api->version.major, v->minor = call->api->version.minor;
			return NULL;
		}
	if (call->stage != STAGE_EXECUTE) return NULL;
	if (call->api->version.major != FFI_MAJOR || call->api->version.minor != FFI_MINOR)
		return ffi_fail(call, "this version of XLA's foreign functions is not known");
	return function(call);
}

static ffi_error *handle_bgmv(call_frame *call) { return handle(call, ffi_bgmv); }
static ffi_error *handle_attend(call_frame *call) { return handle(call, ffi_attend); }
static ffi_error *handle_packed(call_frame *call) { return handle(call, ffi_packed); }
static ffi_error *handle_linear(call_frame *call) { return handle(call, ffi_linear); }
static ffi_error *handle_pull(call_frame *call) { return handle(call, ffi_pull); }
static ffi_error *handle_adapted(call_frame *call) { return handle(call, ffi_adapted); }
static ffi_error *handle_flash(call_frame *call) { return handle(call, ffi_flash); }
static ffi_error *handle_flash_pull(call_frame *call) { return handle(call, ffi_flash_pull); }

const char *descant_register_kernels(const char *plugin, const char *const names[DESCANT_KERNELS], int64_t threads) {
	static void *const handlers[DESCANT_KERNELS] = {handle_bgmv, handle_attend, handle_packed, handle_linear, handle_pull, handle_adapted,
		handle_flash, handle_flash_pull};
	processors = threads;
	void *library = dlopen(plugin, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
	if (library == NULL) return "the plugin is not loaded";
	const pjrt_api *(*get)(void);
	*(void **)&get = dlsym(library, "GetPjrtApi");
	const pjrt_api *api = get == NULL ? NULL : get();
	dlclose(library); // it stays: the backend has it open, too
	if (api == NULL) return "the plugin has no PJRT interface";
	if (api->version.major != PJRT_MAJOR || api->version.minor != PJRT_MINOR) return "the plugin has another version of PJRT";
	for (extension *e = api->extensions; e != NULL; e = e->next)
		if (e->type == EXTENSION_FFI && e->size == sizeof(ffi_extension)) {
			const ffi_extension *ffi = (ffi_extension *)e;
			for (int i = 0; i < DESCANT_KERNELS; i++) {
				register_args args = {offsetof(register_args, traits) + sizeof(int), names[i], strlen(names[i]), handlers[i], "Host", 4, 0};
				if (ffi->register_handler(&args) != NULL) return "the plugin refuses a function";
			}
			return NULL;
		}
	return "the plugin takes no foreign functions";
}
