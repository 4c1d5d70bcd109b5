#include "launcher.h"

#include <stdexcept>
#include <string>

namespace clasp
{

namespace
{

constexpr std::uint32_t kMOST_STATIC_SHARED = 48 * 1024; // bytes of shared memory that a kernel gets without asking

void check(CUresult status, char const* what)
{
    if (status != CUDA_SUCCESS)
    {
        char const* name{};
        cuGetErrorName(status, &name);
        throw std::runtime_error(std::string(what) + " failed: " + (name != nullptr ? name : std::to_string(status)));
    }
}

//! The cubin for the device of the current context: of its capability, or an older one of the same major version.
char const* fitting(Program const& program)
{
    int version{}, major{}, minor{};
    check(cuDriverGetVersion(&version), "cuDriverGetVersion");
    if (version / 1000 < program.cuda)
    {
        throw std::runtime_error("its kernels were compiled by CUDA " + std::to_string(program.cuda)
            + ", but the driver here knows CUDA " + std::to_string(version / 1000));
    }
    CUdevice device{};
    check(cuCtxGetDevice(&device), "cuCtxGetDevice");
    check(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device), "cuDeviceGetAttribute");
    check(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device), "cuDeviceGetAttribute");
    Image const* best{};
    for (auto const& image : program.images)
    {
        if (image.sm / 10 == major && image.sm % 10 <= minor && (best == nullptr || image.sm > best->sm))
        {
            best = &image;
        }
    }
    if (best == nullptr)
    {
        throw std::runtime_error("it has no kernels for SM " + std::to_string(major) + "." + std::to_string(minor));
    }
    return best->cubin;
}

} // namespace

Launcher::Launcher(std::shared_ptr<Program const> program)
    : mProgram(std::move(program))
{
    check(cuLibraryLoadData(&mLibrary, fitting(*mProgram), nullptr, nullptr, 0, nullptr, nullptr, 0), "cuLibraryLoadData");
    try
    {
        for (auto const& launch : mProgram->launches)
        {
            prepare(launch);
        }
    }
    catch (...)
    {
        cuLibraryUnload(mLibrary);
        throw;
    }
}

Launcher::~Launcher()
{
    cuLibraryUnload(mLibrary);
}

void Launcher::prepare(Launch const& launch)
{
    CUkernel kernel{};
    Ready ready;
    check(cuLibraryGetKernel(&kernel, mLibrary, launch.kernel.c_str()), "cuLibraryGetKernel");
    // also loads the kernel, which CUDA puts off otherwise, and must not do while a graph is captured
    check(cuKernelGetFunction(&ready.function, kernel), "cuKernelGetFunction");
    if (launch.shared > kMOST_STATIC_SHARED)
    {
        check(cuFuncSetAttribute(ready.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                  static_cast<int>(launch.shared)),
            "cuFuncSetAttribute");
    }
    for (auto const& argument : launch.arguments)
    {
        ready.values.push_back(static_cast<std::uint32_t>(argument.value));
    }
    for (auto& value : ready.values)
    {
        ready.addresses.push_back(&value); // a vector that moves keeps its elements where they are
    }
    mReady.push_back(std::move(ready));
}

void Launcher::operator()(void const* const* inputs, void* const* outputs, void* workspace, CUstream stream)
{
    auto const nbInputs = static_cast<std::int32_t>(mProgram->op.inputs.size());
    for (std::size_t i = 0; i < mReady.size(); ++i)
    {
        auto const& launch = mProgram->launches[i];
        auto& ready = mReady[i];
        for (std::size_t slot = 0; slot < ready.values.size(); ++slot)
        {
            auto const [kind, value] = launch.arguments[slot];
            switch (kind)
            {
            case Argument::Kind::kTENSOR:
                ready.values[slot] = reinterpret_cast<std::uint64_t>(
                    value < nbInputs ? inputs[value] : outputs[value - nbInputs]);
                break;
            case Argument::Kind::kWORKSPACE: ready.values[slot] = reinterpret_cast<std::uint64_t>(workspace) + value; break;
            case Argument::Kind::kINT32: break;
            }
        }
        auto const& [gx, gy, gz] = launch.grid;
        auto const& [bx, by, bz] = launch.block;
        check(cuLaunchKernel(ready.function, gx, gy, gz, bx, by, bz, launch.shared, stream, ready.addresses.data(), nullptr),
            "cuLaunchKernel");
    }
}

} // namespace clasp
