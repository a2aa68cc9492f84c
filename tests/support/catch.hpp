// SPDX-License-Identifier: Apache-2.0
//
// Catch2, whichever generation is installed: 2.13's single header (Debian 12) or version 3. Tests include this and use what
// both have: TEST_CASE, SECTION, GENERATE, REQUIRE, CHECK, *_THROWS_*, INFO, CAPTURE, Approx and the floating-point matchers.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
