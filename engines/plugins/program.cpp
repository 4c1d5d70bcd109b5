#include "program.h"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <stdexcept>

namespace clasp
{

using nvinfer1::DataType;
using nvinfer1::PluginFieldType;

namespace
{

std::size_t bytesOf(PluginFieldType type)
{
    switch (type)
    {
    case PluginFieldType::kINT32: return 4;
    case PluginFieldType::kINT8:
    case PluginFieldType::kCHAR: return 1;
    default: throw std::runtime_error("a field is of no type that a plugin of namespace clasp has");
    }
}

//! Takes numbers off the front.
class Reader
{
public:
    explicit Reader(std::vector<std::int32_t> numbers)
        : mNumbers(std::move(numbers))
    {
    }

    bool done() const
    {
        return mNext == mNumbers.size();
    }

    std::int32_t next()
    {
        if (done())
        {
            throw std::runtime_error("a launch is cut off");
        }
        return mNumbers[mNext++];
    }

    //! The next number, which must be from 0 to `bound` - 1.
    std::int32_t below(std::size_t bound)
    {
        auto const value = next();
        if (value < 0 || static_cast<std::size_t>(value) >= bound)
        {
            throw std::runtime_error("a launch names what is not there");
        }
        return value;
    }

private:
    std::vector<std::int32_t> mNumbers;
    std::size_t mNext{0};
};

std::vector<Launch> readLaunches(
    Operator const& op, std::vector<std::string> const& kernels, std::vector<std::int32_t> numbers, std::int32_t workspace)
{
    std::vector<Launch> launches;
    Reader reader(std::move(numbers));
    while (!reader.done())
    {
        Launch launch{};
        launch.kernel = kernels[reader.below(kernels.size())];
        for (auto* sizes : {&launch.grid, &launch.block})
        {
            for (auto& size : *sizes)
            {
                size = static_cast<std::uint32_t>(reader.next());
            }
        }
        launch.shared = static_cast<std::uint32_t>(reader.next());
        auto const count = reader.next();
        std::array<std::size_t, 2> const bounds{op.inputs.size() + op.outputs.size(), static_cast<std::size_t>(workspace)};
        for (std::int32_t i = 0; i < count; ++i)
        {
            auto const kind = reader.below(bounds.size() + 1);
            auto const value = static_cast<std::size_t>(kind) < bounds.size() ? reader.below(bounds[kind]) : reader.next();
            launch.arguments.push_back({static_cast<Argument::Kind>(kind), value});
        }
        launches.push_back(std::move(launch));
    }
    if (launches.empty())
    {
        throw std::runtime_error("there is nothing to launch");
    }
    return launches;
}

} // namespace

std::array<Operator, 2> const& operators()
{
    static std::array<Operator, 2> const table{{
        {"ClaspPivotSelect", "1", {"keep"},
            {{DataType::kFLOAT, {"batch", "tokens"}}, {DataType::kINT64, {"batch"}}},
            {{DataType::kBOOL, {"batch", "tokens"}}}},
        {"ClaspSphericalKMeans", "1", {"keep", "iterations"},
            {{DataType::kFLOAT, {"batch", "tokens", "tokens"}}, {DataType::kBOOL, {"batch", "tokens"}}},
            {{DataType::kINT64, {"batch", "keep"}}, {DataType::kBOOL, {"batch", "keep"}}}},
    }};
    return table;
}

std::vector<std::string> fieldNames(Operator const& op)
{
    std::vector<std::string> names(op.attributes.begin(), op.attributes.end());
    names.insert(names.end(), {"shape", "workspace", "kernels", "launches", "cuda", "sms", "sizes", "cubins"});
    return names;
}

Program::Program(Operator const& op, nvinfer1::PluginFieldCollection const& fields)
    : op(op)
{
    for (auto const& name : fieldNames(op))
    {
        auto const* end = fields.fields + fields.nbFields;
        auto const* found = std::find_if(fields.fields, end, [&](auto const& field) { return field.name == name; });
        if (found == end)
        {
            throw std::runtime_error("the field " + name + " is missing: the graph was not made for plugins; give the "
                "one that `clasp-trt build --plugins` gives the parser");
        }
        auto const* bytes = static_cast<char const*>(found->data);
        mFields.push_back({name, found->type, found->length, {bytes, bytes + found->length * bytesOf(found->type)}});
    }
    for (auto const& field : mFields)
    {
        mViews.emplace_back(field.name.c_str(), field.data.data(), field.type, field.length);
    }
    mCollection = {static_cast<std::int32_t>(mViews.size()), mViews.data()};

    keep = number("keep");
    workspace = number("workspace");
    cuda = number("cuda");
    auto const shape = numbers("shape");
    auto const& text = find("kernels").data;
    // parsers end text by a zero
    std::istringstream words(std::string(text.begin(), std::find(text.begin(), text.end(), '\0')));
    std::vector<std::string> kernels;
    for (std::string word; words >> word;)
    {
        kernels.push_back(word);
    }
    auto const sms = numbers("sms"), sizes = numbers("sizes");
    auto const& cubins = find("cubins").data;
    std::int64_t offset = 0;
    if (shape.size() != 2 || workspace < 0 || sms.empty() || sms.size() != sizes.size())
    {
        throw std::runtime_error("its fields do not fit together; build the engine again");
    }
    batch = shape[0];
    tokens = shape[1];
    for (std::size_t i = 0; i < sms.size(); ++i)
    {
        images.push_back({sms[i], cubins.data() + offset});
        offset += sizes[i];
        if (sizes[i] < 1 || offset > static_cast<std::int64_t>(cubins.size()))
        {
            throw std::runtime_error("its cubins are cut off; build the engine again");
        }
    }
    launches = readLaunches(op, kernels, numbers("launches"), workspace);
}

std::int64_t Program::size(char const* dimension) const
{
    std::string const name{dimension};
    return name == "batch" ? batch : name == "tokens" ? tokens : keep;
}

Field const& Program::find(std::string const& name) const
{
    return *std::find_if(mFields.begin(), mFields.end(), [&](auto const& field) { return field.name == name; });
}

std::vector<std::int32_t> Program::numbers(std::string const& name) const
{
    auto const& field = find(name);
    if (field.type != PluginFieldType::kINT32)
    {
        throw std::runtime_error("the field " + name + " is not of int32");
    }
    std::vector<std::int32_t> values(field.length);
    std::memcpy(values.data(), field.data.data(), field.data.size());
    return values;
}

std::int32_t Program::number(std::string const& name) const
{
    auto const values = numbers(name);
    if (values.size() != 1)
    {
        throw std::runtime_error("the field " + name + " is not one number");
    }
    return values[0];
}

} // namespace clasp
