// SPDX-License-Identifier: Apache-2.0
#include "kith/core/params.hpp"

#include <cmath>
#include <limits>

#include "kith/any/spec.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT
using test::check_error;

struct Everything {
    std::uint32_t m = 16;
    std::int64_t seed = -1;
    double slack = 0.25;
    float ratio = 1;
    bool heuristic = true;
    std::string codec = "f32";
    static constexpr auto fields() {
        return std::tuple{field("m", &Everything::m, 2, 256, "links of a node"),
                          field("seed", &Everything::seed, -1, 1e18, "where chance starts"),
                          field("slack", &Everything::slack, 0, 1, "allowance"),
                          field("ratio", &Everything::ratio, 0, 10, "another number"),
                          field("heuristic", &Everything::heuristic, "prune by angles"),
                          field("codec", &Everything::codec, "what rows become")};
    }
    friend bool operator==(const Everything&, const Everything&) = default;
};
static_assert(Params<Everything>);
static_assert(Params<NoParams>);
static_assert(!Params<int>);

Everything parse(const ParamMap& params) { return parse_params<Everything>(params, "test build"); }
Everything parse(std::string_view text) { return parse(parse_param_list(text, "test")); }

}  // namespace

TEST_CASE("parameters over their defaults", "[params]") {
    CHECK(parse(ParamMap{}) == Everything{});
    const auto all = parse("m=32,seed=7,slack=0.5,ratio=2.5,heuristic=false,codec=sq8");
    CHECK(all == Everything{32, 7, 0.5, 2.5f, false, "sq8"});
    CHECK(parse("slack=1").slack == 1.0);   // a whole number is a number
    CHECK(parse("m=48.0").m == 48);         // and 48.0 is whole: what json and Python make of it
    CHECK(parse("seed=-1,m=2").seed == -1);
    CHECK(parse("seed=9007199254740993").seed == 9007199254740993);  // no way through a double
    CHECK(parse("m=256").m == 256);         // ranges are inclusive
}

TEST_CASE("parameters that do not exist, do not fit or are of another type", "[params]") {
    check_error(ErrorCode::invalid_argument, {"unknown parameter 'mm' of test build", "known: m, seed, slack, ratio, heuristic, codec"},
                [] { parse("mm=3"); });
    check_error(ErrorCode::invalid_argument, {"unknown parameter 'x'", "known: none"},
                [] { parse_params<NoParams>({{"x", true}}, "flat"); });
    check_error(ErrorCode::invalid_argument, {"'m'", "twice"}, [] { parse("m=3,m=3"); });
    check_error(ErrorCode::invalid_argument, {"'m'", "between 2 and 256", "not 1"}, [] { parse("m=1"); });
    check_error(ErrorCode::invalid_argument, {"'m'", "between 2 and 256", "257"}, [] { parse("m=257"); });
    check_error(ErrorCode::invalid_argument, {"'m'", "-3"}, [] { parse("m=-3"); });
    check_error(ErrorCode::invalid_argument, {"'m'", "int", "2.5"}, [] { parse("m=2.5"); });
    check_error(ErrorCode::invalid_argument, {"'m'", "int", "'many'"}, [] { parse("m=many"); });
    check_error(ErrorCode::invalid_argument, {"'m'", "int", "'true'"}, [] { parse("m=true"); });
    check_error(ErrorCode::invalid_argument, {"'slack'", "float", "'x'"}, [] { parse("slack=x"); });
    check_error(ErrorCode::invalid_argument, {"'slack'", "1e+300"}, [] { parse("slack=1e300"); });
    check_error(ErrorCode::invalid_argument, {"'heuristic'", "bool", "'1'"}, [] { parse("heuristic=1"); });
    check_error(ErrorCode::invalid_argument, {"'codec'", "str", "'3'"}, [] { parse("codec=3"); });
    for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
        check_error(ErrorCode::invalid_argument, {"'slack'"}, [&] { parse(ParamMap{{"slack", bad}}); });
        check_error(ErrorCode::invalid_argument, {"'m'"}, [&] { parse(ParamMap{{"m", bad}}); });
    }
}

TEST_CASE("lists of parameters that make no sense", "[params]") {
    for (const std::string_view text : {"m", "=3", "m=3,", ",m=3", "m=3,,seed=4", "m=3 seed", " = ", ","})
        check_error(ErrorCode::invalid_argument, {},
                    [&] { parse(text); });
    CHECK(parse_param_list("", "x").empty());
    CHECK(parse_param_list("   ", "x").empty());
    CHECK(parse_param_list(" a = 1 , b = x y ", "x") == ParamMap{{"a", std::int64_t{1}}, {"b", std::string("x y")}});
    check_error(ErrorCode::invalid_argument, {"name=value", "a spec", "'oops'"}, [] { parse_param_list("a=1,oops", "a spec"); });
}

TEST_CASE("values have the type that their text says", "[params]") {
    CHECK(parse_param_value("true") == ParamValue(true));
    CHECK(parse_param_value("false") == ParamValue(false));
    CHECK(parse_param_value("True") == ParamValue(std::string("True")));
    CHECK(parse_param_value("-12") == ParamValue(std::int64_t{-12}));
    CHECK(parse_param_value("9223372036854775807") == ParamValue(std::numeric_limits<std::int64_t>::max()));
    CHECK(parse_param_value("9223372036854775808") == ParamValue(9223372036854775808.0));
    CHECK(parse_param_value("1e3") == ParamValue(1000.0));
    CHECK(parse_param_value("0.1") == ParamValue(0.1));
    CHECK(parse_param_value("1.5x") == ParamValue(std::string("1.5x")));
    CHECK(parse_param_value("") == ParamValue(std::string()));
    CHECK(parse_param_value("nan") == ParamValue(std::string("nan")));  // no parameter can be one, and it equals nothing
}

TEST_CASE("parameters survive their text", "[params]") {
    CHECK(to_string(NoParams{}).empty());
    CHECK(to_string(Everything{}) == "m=16,seed=-1,slack=0.25,ratio=1,heuristic=true,codec=f32");
    for (const double slack : {0.0, 0.1, 1.0 / 3, 1e-300, 5e-324, 1.0})
        for (const float ratio : {0.1f, 1.0f / 3, 10.0f, 1e-45f})
            for (const bool flag : {false, true}) {
                const Everything params{17, 123456789012345, slack, ratio, flag, "pq"};
                CHECK(parse(to_string(params)) == params);
            }
}

TEST_CASE("a list of values survives its text in a spec", "[params][spec]") {
    for (const std::string_view text : {"x(a=5.0)", "x(a=1e20)", "x(a=1e22)", "x(a=-0.0)", "x(a=nan)", "x(a=inf)", "x(a=5)", "x(a=)",
                                        "x(a=0.1,b=true,c=z) over l2/f32, refine f32", "x(a=123456789012345678)"}) {
        CAPTURE(text);
        const Spec spec = parse_spec(text);
        CHECK(parse_spec(to_string(spec)) == spec);
    }
}

TEST_CASE("fields describe themselves", "[params]") {
    const auto infos = describe_params<Everything>();
    REQUIRE(infos.size() == 6);
    CHECK(infos[0].name == "m");
    CHECK(infos[0].type == "int");
    CHECK(infos[0].default_value == "16");
    CHECK(infos[0].min == 2);
    CHECK(infos[0].max == 256);
    CHECK(infos[0].help == "links of a node");
    CHECK(infos[2].type == "float");
    CHECK(infos[4].type == "bool");
    CHECK(infos[4].default_value == "true");
    CHECK(infos[5].type == "str");
    CHECK(describe_params<NoParams>().empty());
    CHECK(is_param<Everything>("slack"));
    CHECK_FALSE(is_param<Everything>("slac"));
}
