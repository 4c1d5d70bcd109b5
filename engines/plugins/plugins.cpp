// The plugins ClaspPivotSelect and ClaspSphericalKMeans, for trtexec and C++ programs. Load the library with
// `trtexec --dynamicPlugins=libclasp_plugins.so`, or IPluginRegistry::loadLibrary.
//
// They are those of clasp_trt/plugins: same names, version, namespace and fields, so that either loads the engines that
// the other built. What to launch was planned before and lies in the fields, for one shape or as arithmetic for any.
#include "launcher.h"
#include "program.h"

#include <NvInfer.h>

#include <algorithm>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace clasp
{

using namespace nvinfer1;

namespace
{

ILoggerFinder* gLoggerFinder{};

//! Runs `work`. What it throws is logged and becomes `failure`: nothing may cross TensorRT.
template <typename Work, typename Result>
Result guarded(Operator const& op, Result failure, Work&& work) noexcept
{
    try
    {
        return work();
    }
    catch (std::exception const& error)
    {
        auto const said = std::string(op.name) + ": " + error.what();
        auto* logger = gLoggerFinder != nullptr ? gLoggerFinder->findLogger() : nullptr;
        if (logger != nullptr)
        {
            logger->log(ILogger::Severity::kERROR, said.c_str());
        }
        else
        {
            std::cerr << said << std::endl;
        }
    }
    return failure;
}

//! One plugin in all of its roles. A clone shares the program and has no launcher.
class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime
{
public:
    explicit Plugin(std::shared_ptr<Program const> program)
        : mProgram(std::move(program))
    {
    }

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override
    {
        switch (type)
        {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override
    {
        return guarded(op(), static_cast<IPluginV3*>(nullptr), [&] { return new Plugin(mProgram); });
    }

    char const* getPluginName() const noexcept override
    {
        return op().name;
    }

    char const* getPluginVersion() const noexcept override
    {
        return op().version;
    }

    char const* getPluginNamespace() const noexcept override
    {
        return kNAMESPACE;
    }

    int32_t getNbOutputs() const noexcept override
    {
        return static_cast<int32_t>(op().outputs.size());
    }

    int32_t getOutputDataTypes(
        DataType* outputTypes, int32_t nbOutputs, DataType const* inputTypes, int32_t nbInputs) const noexcept override
    {
        return guarded(op(), int32_t{-1}, [&] {
            for (int32_t i = 0; i < nbInputs; ++i)
            {
                require(inputTypes[i] == op().inputs.at(i).type, "an input is of another type than the operator takes");
            }
            for (int32_t i = 0; i < nbOutputs; ++i)
            {
                outputTypes[i] = op().outputs.at(i).type;
            }
            return 0;
        });
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t nbInputs, DimsExprs const*, int32_t, DimsExprs* outputs,
        int32_t nbOutputs, IExprBuilder& exprBuilder) noexcept override
    {
        return guarded(op(), int32_t{-1}, [&] {
            std::map<std::string, IDimensionExpr const*> sizes;
            for (int32_t i = 0; i < nbInputs; ++i)
            {
                auto const& names = op().inputs.at(i).dimensions;
                bool fits = inputs[i].nbDims == static_cast<int32_t>(names.size());
                for (int32_t d = 0; fits && d < inputs[i].nbDims; ++d)
                {
                    auto const* size = inputs[i].d[d];
                    auto const known = mProgram->size(names[d]);
                    fits = known < 0 || (size->isConstant() && size->getConstantValue() == known);
                    sizes.emplace(names[d], size);
                }
                require(fits, "an input is of another shape than the plugin was planned for");
            }
            for (int32_t i = 0; i < nbOutputs; ++i)
            {
                auto const& names = op().outputs.at(i).dimensions;
                outputs[i].nbDims = static_cast<int32_t>(names.size());
                for (std::size_t d = 0; d < names.size(); ++d)
                {
                    auto const known = mProgram->size(names[d]);
                    outputs[i].d[d] = known < 0 ? sizes.at(names[d]) : exprBuilder.constant(known);
                }
            }
            return 0;
        });
    }

    bool supportsFormatCombination(
        int32_t pos, DynamicPluginTensorDesc const* inOut, int32_t nbInputs, int32_t) noexcept override
    {
        return guarded(op(), false, [&] {
            auto const& port = pos < nbInputs ? op().inputs.at(pos) : op().outputs.at(pos - nbInputs);
            return inOut[pos].desc.format == TensorFormat::kLINEAR && inOut[pos].desc.type == port.type;
        });
    }

    int32_t configurePlugin(
        DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*, int32_t) noexcept override
    {
        return 0;
    }

    size_t getWorkspaceSize(
        DynamicPluginTensorDesc const* inputs, int32_t, DynamicPluginTensorDesc const*, int32_t) const noexcept override
    {
        return guarded(op(), size_t{0}, [&] {
            auto const [tokens, keep] = counts([&](std::size_t i) { return inputs[i].max; });
            return static_cast<size_t>(mProgram->at(tokens, keep).workspace);
        });
    }

    PluginFieldCollection const* getFieldsToSerialize() noexcept override
    {
        return mProgram->fields();
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override
    {
        return guarded(op(), static_cast<IPluginV3*>(nullptr), [&] {
            auto attached = std::make_unique<Plugin>(mProgram);
            attached->mLauncher = std::make_unique<Launcher>(mProgram);
            return attached.release();
        });
    }

    int32_t onShapeChange(PluginTensorDesc const* inputs, int32_t, PluginTensorDesc const*, int32_t) noexcept override
    {
        return guarded(op(), int32_t{-1}, [&] {
            if (mLauncher == nullptr) // a builder that times plugins does so without a context
            {
                mLauncher = std::make_unique<Launcher>(mProgram);
            }
            auto const [tokens, keep] = counts([&](std::size_t i) { return inputs[i].dims; });
            mLauncher->prepare(tokens, keep);
            return 0;
        });
    }

    int32_t enqueue(PluginTensorDesc const* given, PluginTensorDesc const*, void const* const* inputs, void* const* outputs,
        void* workspace, cudaStream_t stream) noexcept override
    {
        return guarded(op(), int32_t{-1}, [&] {
            require(mLauncher != nullptr, "it was not attached to a context");
            auto const [tokens, keep] = counts([&](std::size_t i) { return given[i].dims; });
            (*mLauncher)(tokens, keep, inputs, outputs, workspace, stream);
            return 0;
        });
    }

private:
    std::shared_ptr<Program const> mProgram;
    std::unique_ptr<Launcher> mLauncher;

    Operator const& op() const noexcept
    {
        return mProgram->op;
    }

    //! The tokens, and how many of them stay, of inputs whose shapes `dims` gives by their numbers.
    template <typename Shapes>
    std::pair<int32_t, int32_t> counts(Shapes dims) const
    {
        auto tokens = mProgram->tokens, keep = mProgram->keep;
        for (std::size_t i = 0; mProgram->varies() && i < op().inputs.size(); ++i)
        {
            auto const shape = dims(i);
            auto const& names = op().inputs[i].dimensions;
            for (std::size_t d = 0; d < names.size(); ++d)
            {
                std::string const name{names[d]};
                auto& count = name == "tokens" ? tokens : keep;
                count = name == "batch" ? count : static_cast<int32_t>(shape.d[d]);
            }
        }
        return {tokens, keep};
    }

    static void require(bool holds, char const* otherwise)
    {
        if (!holds)
        {
            throw std::runtime_error(otherwise);
        }
    }
};

class Creator final : public IPluginCreatorV3One
{
public:
    explicit Creator(Operator const& op)
        : mOperator(op)
        , mNames(fieldNames(op))
    {
        mNames.emplace_back("rows"); // which a node has where it lacks `keep`
        for (auto const& name : mNames)
        {
            auto const type = name == "kernels" ? PluginFieldType::kCHAR
                : name == "cubins"              ? PluginFieldType::kINT8
                                                : PluginFieldType::kINT32;
            mFields.emplace_back(name.c_str(), nullptr, type, 0);
        }
        mCollection = {static_cast<int32_t>(mFields.size()), mFields.data()};
    }

    Creator(Creator const&) = delete;
    Creator& operator=(Creator const&) = delete;

    IPluginV3* createPlugin(char const*, PluginFieldCollection const* fields, TensorRTPhase) noexcept override
    {
        return guarded(mOperator, static_cast<IPluginV3*>(nullptr),
            [&] { return new Plugin(std::make_shared<Program const>(mOperator.name, *fields)); });
    }

    PluginFieldCollection const* getFieldNames() noexcept override
    {
        return &mCollection;
    }

    char const* getPluginName() const noexcept override
    {
        return mOperator.name;
    }

    char const* getPluginVersion() const noexcept override
    {
        return mOperator.version;
    }

    char const* getPluginNamespace() const noexcept override
    {
        return kNAMESPACE;
    }

private:
    Operator const& mOperator;
    std::vector<std::string> mNames;
    std::vector<PluginField> mFields;
    PluginFieldCollection mCollection{};
};

} // namespace

} // namespace clasp

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder)
{
    clasp::gLoggerFinder = finder;
}

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    static clasp::Creator pivotSelect{clasp::operators()[0]};
    static clasp::Creator sphericalKMeans{clasp::operators()[1]};
    static nvinfer1::IPluginCreatorInterface* const creators[]{&pivotSelect, &sphericalKMeans};
    count = 2;
    return creators;
}
