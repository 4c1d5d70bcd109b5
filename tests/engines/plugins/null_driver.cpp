// A CUDA driver that computes nothing and writes down what it is asked: libcuda.so.1 for tests, without CUDA's headers.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C"
{

//! How cuda-bindings before 13 finds everything else.
int cuGetProcAddress_v2(char const* symbol, void** function, int, std::uint64_t, int*)
{
    Dl_info here{};
    dladdr(reinterpret_cast<void*>(&cuGetProcAddress_v2), &here);
    *function = dlsym(dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD), symbol);
    return *function != nullptr ? 0 : 500; // CUDA_ERROR_NOT_FOUND
}

int cuGetErrorName(int, char const** name)
{
    *name = "CUDA_ERROR_UNKNOWN";
    return 0;
}

int cuDriverGetVersion(int* version)
{
    *version = 13000;
    return 0;
}

int cuCtxGetDevice(int* device)
{
    *device = 0;
    return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int)
{
    *value = attribute == 75 ? 8 : 9; // the major version of SM 8.9, and the minor
    return 0;
}

int cuLibraryLoadData(void** library, void const* code, void*, void*, unsigned, void*, void*, unsigned)
{
    std::printf("cuLibraryLoadData %.11s\n", static_cast<char const*>(code) + 1); // such as "ELF for 8.9"
    *library = reinterpret_cast<void*>(std::uintptr_t{1});
    return 0;
}

int cuLibraryUnload(void*)
{
    std::printf("cuLibraryUnload\n");
    return 0;
}

int cuLibraryGetKernel(void** kernel, void*, char const* name)
{
    std::printf("cuLibraryGetKernel %s\n", name);
    *kernel = strdup(name);
    return 0;
}

int cuKernelGetFunction(void** function, void* kernel)
{
    *function = kernel;
    return 0;
}

int cuFuncSetAttribute(void* function, int attribute, int value)
{
    std::printf("cuFuncSetAttribute %s %d %d\n", static_cast<char const*>(function), attribute, value);
    return 0;
}

//! The kernels of the tests end in their number of arguments, such as `seeds_3`.
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, void* stream, void** arguments, void**)
{
    auto const* name = static_cast<char const*>(function);
    std::printf("cuLaunchKernel %s %u %u %u %u %u %u %u %p", name, gx, gy, gz, bx, by, bz, shared, stream);
    for (int i = 0; i < std::atoi(std::strrchr(name, '_') + 1); ++i)
    {
        std::uint64_t value{};
        std::memcpy(&value, arguments[i], sizeof value);
        std::printf(" %#llx", static_cast<unsigned long long>(value));
    }
    std::printf("\n");
    return 0;
}
}
