// SPDX-License-Identifier: Apache-2.0
//
// Catch2's main for version 2, compiled once for all test programs (version 3 brings its own library).
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
