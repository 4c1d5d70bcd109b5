// What differs between a GPU and the emulation of one on the host. No header of CUDA is needed: the compiler knows its
// intrinsics.
#pragma once

typedef unsigned char uint8;
typedef long long int64;
typedef unsigned long long uint64;

#ifdef CLASP_EMULATION
#include "emulation.h"
#else

#define CLASP_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads, 1)
#define CLASP_SHARED(type, name, count) __shared__ type name[count]
#define CLASP_DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(clasp_dynamic_shared)

extern __shared__ __align__(16) unsigned char clasp_dynamic_shared[];

#endif
