// What differs between a GPU and the emulation of one on the host. No header of CUDA is needed: the compiler knows its
// intrinsics, and 16-bit floats are handled as bits.
#pragma once

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef long long int64;
typedef unsigned long long uint64;

#ifdef CLASP_EMULATION
#include "emulation.h"
#else

#define CLASP_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads, 1)
#define CLASP_SHARED(type, name, count) __shared__ type name[count]
#define CLASP_DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(clasp_dynamic_shared)

extern __shared__ __align__(16) unsigned char clasp_dynamic_shared[];

__device__ inline float half_to_float(uint16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// d += a * b on the tensor cores: a is 16 x 16, b 16 x 8, d 16 x 8, spread over the lanes as PTX's m16n8k16 has it.
__device__ inline void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_bfloat(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
