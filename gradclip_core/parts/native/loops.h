/* What kernel.c and locate.c have to know of the types of elements, and of the loops over them. */
#pragma once
#include <stdint.h>

/* In the order of gradclip_types in loops.c and _TYPES in __init__.py. */
enum { FLOAT, DOUBLE, HALF, BFLOAT };

/* The size of an element; the largest magnitude among n, and sums of magnitudes and of squares;
   bounding magnitudes (returns the largest there was; NaN and inf stay); scaling. */
typedef struct {
    int64_t size;
    double (*peak)(const void *, int64_t), (*sum)(const void *, int64_t);
    double (*squares)(const void *, int64_t), (*clamp)(void *, int64_t, double);
    void (*scale)(void *, int64_t, double);
} Type;
extern const Type gradclip_types[] __attribute__((visibility("hidden")));
