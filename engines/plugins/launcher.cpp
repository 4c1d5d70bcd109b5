#include "launcher.h"

#include <stdexcept>
#include <string>

namespace clasp
{

namespace
{

constexpr std::size_t kSHAPES = 64; // whose launches are kept ready at a time
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
        for (auto const& name : mProgram->kernels())
        {
            CUkernel kernel{};
            auto& function = mFunctions[name];
            check(cuLibraryGetKernel(&kernel, mLibrary, name.c_str()), "cuLibraryGetKernel");
            // also loads the kernel, which CUDA puts off otherwise, and must not do while a graph is captured
            check(cuKernelGetFunction(&function.handle, kernel), "cuKernelGetFunction");
            function.shared = kMOST_STATIC_SHARED;
        }
        if (!mProgram->varies())
        {
            prepare(mProgram->tokens, mProgram->keep);
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

void Launcher::prepare(std::int32_t tokens, std::int32_t keep)
{
    ready(tokens, keep);
}

std::vector<Launcher::Ready>& Launcher::ready(std::int32_t tokens, std::int32_t keep)
{
    auto const shape = std::make_pair(tokens, keep);
    auto found = mReady.find(shape);
    if (found == mReady.end())
    {
        std::vector<Ready> launches;
        for (auto const& launch : mProgram->at(tokens, keep).launches)
        {
            launches.push_back(made(launch));
        }
        if (mReady.size() >= kSHAPES)
        {
            mReady.clear();
        }
        found = mReady.emplace(shape, std::move(launches)).first;
    }
    return found->second;
}

Launcher::Ready Launcher::made(Launch const& launch)
{
    auto& function = mFunctions.at(launch.kernel);
    if (launch.shared > function.shared)
    {
        check(cuFuncSetAttribute(function.handle, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                  static_cast<int>(launch.shared)),
            "cuFuncSetAttribute");
        function.shared = launch.shared;
    }
    return {launch, function.handle, std::vector<std::uint64_t>(launch.arguments.size()),
        std::vector<void*>(launch.arguments.size())};
}

void Launcher::operator()(std::int32_t tokens, std::int32_t keep, void const* const* inputs, void* const* outputs, void* workspace,
    CUstream stream)
{
    auto const nbInputs = static_cast<std::int32_t>(mProgram->op.inputs.size());
    for (auto& [launch, function, values, addresses] : ready(tokens, keep))
    {
        for (std::size_t slot = 0; slot < values.size(); ++slot)
        {
            auto const [kind, value] = launch.arguments[slot];
            addresses[slot] = &values[slot];
            switch (kind)
            {
            case Argument::Kind::kTENSOR:
                values[slot]
                    = reinterpret_cast<std::uint64_t>(value < nbInputs ? inputs[value] : outputs[value - nbInputs]);
                break;
            case Argument::Kind::kWORKSPACE: values[slot] = reinterpret_cast<std::uint64_t>(workspace) + value; break;
            case Argument::Kind::kINT32: values[slot] = static_cast<std::uint32_t>(value); break;
            }
        }
        auto const& [gx, gy, gz] = launch.grid;
        auto const& [bx, by, bz] = launch.block;
        check(cuLaunchKernel(function, gx, gy, gz, bx, by, bz, launch.shared, stream, addresses.data(), nullptr),
            "cuLaunchKernel");
    }
}

} // namespace clasp
