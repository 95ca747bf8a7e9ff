/* The types of elements, in the order of TYPES in kernel.c and _TYPES in __init__.py. */
enum { FLOAT, DOUBLE, HALF, BFLOAT };
