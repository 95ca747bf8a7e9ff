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

/* Whether no two addresses are the same. */
static int distinct(const int64_t *addresses, int64_t n) {
    uint64_t size = 2;
    while (size < 2 * (uint64_t)n) size *= 2;
    int64_t *table = calloc(size, sizeof *table);
    int once = table != NULL;
    for (int64_t i = 0; i < n && once; i++) {
        uint64_t slot = (uint64_t)(addresses[i] >> 4) * 0x9e3779b97f4a7c15u >> 20;
        while (table[slot %= size] && table[slot] != addresses[i]) slot++;
        once = table[slot] != addresses[i];
        table[slot] = addresses[i];
    }
    free(table);
    return once;
}

/* Of each tensor in a Python list the address, 1, the size, its rows and columns into `found`.
   Returns their type; -1 where they differ in it, share memory, or do not suit. To be called
   with Python's lock held: `item` and `describe` are functions of Python and of PyTorch. */
int gradclip_locate(void *list, int64_t n, void *(*item)(void *, intptr_t),
                    int (*describe)(void *, View *), int64_t *found) {
    int type = -1;
    for (int64_t i = 0; i < n; i++) {
        View view;
        void *tensor = item(list, (intptr_t)i);
        if (!tensor || describe(tensor, &view)) return -1;
        int64_t size = size_of(&view), rows = view.dimensions > 1 ? view.shape[0] : 1;
        if (!size || type_of(&view) < 0 || (i && type_of(&view) != type)) return -1;
        type = type_of(&view);
        found[i] = (int64_t)(intptr_t)(view.data + view.offset);
        found[n + i] = 1, found[2 * n + i] = size;
        found[3 * n + i] = rows, found[4 * n + i] = size / rows;
    }
    return distinct(found, n) ? type : -1;
}
