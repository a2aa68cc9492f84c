// SPDX-License-Identifier: Apache-2.0
//
// The sectioned index file, both ways: what an index includes to save and load itself.
// docs/FORMAT.md is the specification.
#pragma once

#include "kith/storage/format.hpp"
#include "kith/storage/section_reader.hpp"
#include "kith/storage/section_writer.hpp"
