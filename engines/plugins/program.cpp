#include "program.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <sstream>
#include <stdexcept>

namespace clasp
{

using nvinfer1::DataType;
using nvinfer1::PluginFieldCollection;
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

//! `bounds` of the two kinds of addresses; those of all numbers, if they are `rows` of a recipe.
std::vector<Launch> readLaunches(
    std::vector<std::string> const& kernels, std::vector<std::int32_t> numbers, std::array<std::size_t, 2> bounds, std::size_t rows)
{
    std::vector<Launch> launches;
    Reader reader(std::move(numbers));
    auto const number = [&] { return rows == 0 ? reader.next() : reader.below(rows); };
    while (!reader.done())
    {
        Launch launch{};
        launch.kernel = kernels[reader.below(kernels.size())];
        for (auto* sizes : {&launch.grid, &launch.block})
        {
            for (auto& size : *sizes)
            {
                size = static_cast<std::uint32_t>(number());
            }
        }
        launch.shared = static_cast<std::uint32_t>(number());
        auto const count = reader.next();
        for (std::int32_t i = 0; i < count; ++i)
        {
            auto const kind = static_cast<Argument::Kind>(reader.below(3));
            auto const value = kind == Argument::Kind::kTENSOR ? reader.below(bounds[0])
                : kind == Argument::Kind::kWORKSPACE           ? reader.below(bounds[1])
                                                               : number();
            launch.arguments.push_back({kind, value});
        }
        launches.push_back(std::move(launch));
    }
    if (launches.empty())
    {
        throw std::runtime_error("there is nothing to launch");
    }
    return launches;
}

//! By an attribute, and not by the length of an input.
bool saysHowManyStay(Operator const& op)
{
    return std::find(op.attributes.begin(), op.attributes.end(), std::string("keep")) != op.attributes.end();
}

//! The operator of that name: as it stands where the fields say how many tokens stay, otherwise as it varies.
Operator const& operatorOf(std::string const& name, PluginFieldCollection const& fields)
{
    auto const* end = fields.fields + fields.nbFields;
    auto const varies = std::any_of(fields.fields, end, [](auto const& field) { return field.name == std::string("rows"); });
    auto const& table = varies ? varyingOperators() : operators();
    return *std::find_if(table.begin(), table.end(), [&](auto const& each) { return each.name == name; });
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

std::array<Operator, 2> const& varyingOperators()
{
    static std::array<Operator, 2> const table = [] {
        auto made = operators();
        for (auto& each : made)
        {
            each.attributes.erase(each.attributes.begin()); // keep
            each.inputs.push_back({DataType::kINT64, {"keep"}});
        }
        return made;
    }();
    return table;
}

std::vector<std::string> fieldNames(Operator const& op)
{
    std::vector<std::string> names(op.attributes.begin(), op.attributes.end());
    names.insert(names.end(), {"shape", "workspace", "kernels", "launches"});
    if (!saysHowManyStay(op))
    {
        names.emplace_back("rows");
    }
    names.insert(names.end(), {"cuda", "sms", "sizes", "cubins"});
    return names;
}

Program::Program(std::string const& name, PluginFieldCollection const& fields)
    : op(operatorOf(name, fields))
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

    auto const workspace = number("workspace");
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
    std::array<std::size_t, 2> bounds{op.inputs.size() + op.outputs.size(), static_cast<std::size_t>(workspace)};
    if (saysHowManyStay(op))
    {
        keep = number("keep");
    }
    else
    {
        readRows();
        bounds[1] = mRows.size();
        if (mRows.empty() || static_cast<std::size_t>(workspace) >= mRows.size())
        {
            throw std::runtime_error("its recipe lacks a row; build the engine again");
        }
    }
    mPlan = {workspace, readLaunches(kernels, numbers("launches"), bounds, mRows.size())};
}

void Program::readRows()
{
    Reader reader(numbers("rows"));
    while (!reader.done())
    {
        auto const rule = static_cast<Row::Rule>(reader.below(6));
        auto const bound = rule == Row::Rule::kCONSTANT ? std::numeric_limits<std::int32_t>::max()
            : rule == Row::Rule::kSIZE                  ? 2
                                                        : mRows.size();
        auto const left = reader.below(bound);
        mRows.push_back({rule, left, rule == Row::Rule::kCONSTANT || rule == Row::Rule::kSIZE ? reader.next() : reader.below(bound)});
    }
}

std::int64_t Program::size(char const* dimension) const
{
    std::string const name{dimension};
    return name == "batch" ? batch : varies() ? -1 : name == "tokens" ? tokens : keep;
}

std::vector<std::string> Program::kernels() const
{
    std::vector<std::string> names;
    for (auto const& launch : mPlan.launches)
    {
        if (std::find(names.begin(), names.end(), launch.kernel) == names.end())
        {
            names.push_back(launch.kernel);
        }
    }
    return names;
}

Plan Program::at(std::int32_t count, std::int32_t stay) const
{
    auto const known = varies() ? 1 <= stay && stay <= count && count <= tokens : count == tokens && stay == keep;
    if (!known)
    {
        throw std::runtime_error("it has no launches that keep " + std::to_string(stay) + " of " + std::to_string(count) + " tokens");
    }
    if (!varies())
    {
        return mPlan;
    }
    std::vector<std::int32_t> values;
    for (auto const& [rule, left, right] : mRows)
    {
        auto const first = [&, left = left] { return static_cast<std::int64_t>(values[left]); };
        auto const second = [&, right = right] { return static_cast<std::int64_t>(values[right]); };
        std::int64_t value{};
        switch (rule)
        {
        case Row::Rule::kCONSTANT: value = left; break;
        case Row::Rule::kSIZE: value = left == 0 ? count : stay; break;
        case Row::Rule::kSUM: value = first() + second(); break;
        case Row::Rule::kPRODUCT: value = first() * second(); break;
        case Row::Rule::kCEILING: value = second() == 0 ? -1 : (first() + second() - 1) / second(); break;
        case Row::Rule::kBELOW: value = first() < second() ? 1 : 0; break;
        }
        if (value < 0 || value > std::numeric_limits<std::int32_t>::max())
        {
            throw std::runtime_error("a number of its launches does not fit 32 bits");
        }
        values.push_back(static_cast<std::int32_t>(value));
    }
    Plan plan{values[mPlan.workspace], {}};
    for (auto launch : mPlan.launches)
    {
        for (auto* sizes : {&launch.grid, &launch.block})
        {
            for (auto& size : *sizes)
            {
                size = static_cast<std::uint32_t>(values[size]);
            }
        }
        launch.shared = static_cast<std::uint32_t>(values[launch.shared]);
        for (auto& argument : launch.arguments)
        {
            argument.value = argument.kind == Argument::Kind::kTENSOR ? argument.value : values[argument.value];
        }
        if (std::find(launch.grid.begin(), launch.grid.end(), 0U) == launch.grid.end()) // over no blocks it is none
        {
            plan.launches.push_back(std::move(launch));
        }
    }
    return plan;
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
