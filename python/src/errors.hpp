// SPDX-License-Identifier: Apache-2.0
//
// kith::Error as Python exceptions: one class per family of codes, each a subclass of kith.Error
// and of the built-in class that Python programmers expect (ValueError, TypeError, OSError ...).
#pragma once

#include <pybind11/pybind11.h>

#include "kith/core/error.hpp"

namespace kith::python {

namespace py = pybind11;

/// Error{not_found} about a file: FileMissingError in Python, which is a FileError and a
/// FileNotFoundError.
class MissingFile : public Error {
public:
    explicit MissingFile(const Error& error) : Error(error) {}
};

/// Runs what opens or writes a file.
template <class Work>
auto with_file(Work&& work) {
    try {
        return work();
    } catch (const Error& error) {
        if (error.code() == ErrorCode::not_found) throw MissingFile(error);
        throw;
    }
}

/// Adds the classes to the module and teaches pybind11 to raise them.
void bind_errors(py::module_& module);

/// Inside a catch block: sets the Python error that stands for the C++ exception in flight.
void raise_in_python() noexcept;

}  // namespace kith::python
