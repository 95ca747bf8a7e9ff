/* Where the tensors of a Python list lie, as PyTorch tells it to C code; see places.py. */
#include <stdlib.h>

#include "loops.h"

/* What DLPack says of a tensor (struct DLTensor of dmlc/dlpack, version 1). */
typedef struct {
    char *data;
    int32_t device_type, device, dimensions;
    struct { uint8_t code, bits; uint16_t lanes; } dtype;
    int64_t *shape, *strides;
    uint64_t offset;
} View;
enum { VIEW_OF_FLOAT = 2, VIEW_OF_BFLOAT = 4, VIEW_OF_CPU = 1 }; /* of code and device_type */

static int type_of(const View *view) {
    if (view->device_type != VIEW_OF_CPU || view->dtype.lanes != 1) return -1;
    if (view->dtype.code == VIEW_OF_BFLOAT) return view->dtype.bits == 16 ? BFLOAT : -1;
    if (view->dtype.code != VIEW_OF_FLOAT) return -1;
    return view->dtype.bits == 32   ? FLOAT
           : view->dtype.bits == 64 ? DOUBLE
           : view->dtype.bits == 16 ? HALF
                                    : -1;
}

/* The number of elements; 0 unless they lie one after the other. */
static int64_t size_of(const View *view) {
    int64_t size = 1;
    for (int d = view->dimensions - 1; d >= 0; d--) {
        if (view->shape[d] != 1 && view->strides[d] != size) return 0;
        size *= view->shape[d];
    }
    return size;
}

typedef struct { int64_t start, end; } Stretch;

static int by_start(const void *a, const void *b) {
    int64_t x = ((const Stretch *)a)->start, y = ((const Stretch *)b)->start;
    return (x > y) - (x < y);
}

/* Whether no two stretches of memory have a byte in common; sorts them. */
static int apart(Stretch *of, int64_t n) {
    int64_t rising = 1;
    while (rising < n && of[rising - 1].end <= of[rising].start) rising++;
    if (rising >= n) return 1; /* as in one buffer for all */
    qsort(of, (size_t)n, sizeof *of, by_start);
    for (int64_t i = 1; i < n; i++)
        if (of[i - 1].end > of[i].start) return 0;
    return 1;
}

/* How PyTorch and CPython tell of a tensor: an item of a list, the tensor that such an object holds
   at `tensor_at` bytes, its view, and of its storage the bytes and the elements before the view. */
typedef struct {
    void *(*item)(void *, intptr_t);
    int (*describe)(void *, View *);
    int32_t (*storage_size)(void *, int64_t *), (*storage_offset)(void *, int64_t *);
    int64_t tensor_at;
} Api;

/* Whether all elements lie in the storage, which may have been shrunk, and rightly aligned. */
static int is_held(const Api *api, char *object, const char *data, int64_t size, int64_t bytes) {
    int64_t held, before;
    void *tensor = object + api->tensor_at;
    if (!data || (intptr_t)data % bytes) return 0;
    if (api->storage_size(tensor, &held) || api->storage_offset(tensor, &before)) return 0;
    return (before + size) * bytes <= held;
}

/* Of each tensor in a Python list the address, 1, the size, its rows and columns into `found`.
   Returns their type; -1 where they differ in it, share memory, or do not suit. To be called
   with Python's lock held: the functions of `api` are of Python and of PyTorch. */
int gradclip_locate(void *list, int64_t n, const Api *api, int64_t *found) {
    int type = -1;
    Stretch *stretches = malloc((size_t)n * sizeof *stretches);
    for (int64_t i = 0; i < n && stretches; i++) {
        View view;
        char *object = api->item(list, (intptr_t)i);
        int64_t size = 0;
        if (object && !api->describe(object, &view)) size = size_of(&view);
        int its = size ? type_of(&view) : -1;
        int suits = its >= 0 && (!i || its == type);
        type = its;
        char *data = suits ? view.data + view.offset : NULL;
        int64_t bytes = suits ? gradclip_types[type].size : 0;
        if (!suits || !is_held(api, object, data, size, bytes)) {
            free(stretches);
            return -1;
        }
        int64_t rows = view.dimensions > 1 ? view.shape[0] : 1;
        found[i] = (int64_t)(intptr_t)data;
        found[n + i] = 1, found[2 * n + i] = size;
        found[3 * n + i] = rows, found[4 * n + i] = size / rows;
        stretches[i] = (Stretch){found[i], found[i] + size * bytes};
    }
    if (!stretches || !apart(stretches, n)) type = -1;
    free(stretches);
    return type;
}
