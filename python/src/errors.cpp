// SPDX-License-Identifier: Apache-2.0
#include "errors.hpp"

#include <array>
#include <new>

namespace kith::python {
namespace {

constexpr std::size_t code_count = static_cast<std::size_t>(ErrorCode::out_of_memory) + 1;

// Borrowed from the module, which lives as long as the interpreter.
std::array<PyObject*, code_count> classes{};
PyObject* base_class = nullptr;
PyObject* missing_file_class = nullptr;

void set_error(ErrorCode code, const char* message) noexcept {
    const auto i = static_cast<std::size_t>(code);
    PyErr_SetString(i < classes.size() && classes[i] != nullptr ? classes[i] : base_class, message);
}

PyObject* add_class(py::module_& module, ErrorCode code, const char* name, const char* doc,
                    PyObject* parent, PyObject* built_in) {
    const py::tuple bases = py::make_tuple(py::handle(parent), py::handle(built_in));
    py::dict members;
    members["code"] = py::str(std::string(kith::name(code)));
    members["__module__"] = "kith";
    const std::string qualified = std::string("kith.") + name;
    PyObject* made = PyErr_NewExceptionWithDoc(qualified.c_str(), doc, bases.ptr(), members.ptr());
    if (made == nullptr) throw py::error_already_set();
    module.add_object(name, made);
    return made;
}

/// For a handler that catches Error: sets the Python error.
void translate(const Error& error) noexcept {
    if (dynamic_cast<const MissingFile*>(&error) != nullptr)
        PyErr_SetString(missing_file_class, error.what());
    else
        set_error(error.code(), error.what());
}

}  // namespace

void raise_in_python() noexcept {
    try {
        throw;
    } catch (const Error& e) {
        translate(e);
    } catch (py::error_already_set& e) {
        e.restore();
    } catch (const std::bad_alloc&) {
        set_error(ErrorCode::out_of_memory, "out of memory");
    } catch (const std::exception& e) {
        PyErr_SetString(base_class, e.what());
    } catch (...) {
        PyErr_SetString(base_class, "unknown C++ exception");
    }
}

void bind_errors(py::module_& module) {
    py::dict members;
    members["code"] = "error";
    members["__module__"] = "kith";
    base_class = PyErr_NewExceptionWithDoc(
        "kith.Error", "Base of every exception that kith raises. `code` names the kind.", nullptr,
        members.ptr());
    if (base_class == nullptr) throw py::error_already_set();
    module.add_object("Error", base_class);

    using enum ErrorCode;
    const auto add = [&](ErrorCode code, const char* name, const char* doc, PyObject* built_in) {
        classes[static_cast<std::size_t>(code)] =
            add_class(module, code, name, doc, base_class, built_in);
    };
    add(invalid_argument, "InvalidArgumentError", "A parameter out of range or an unknown name.",
        PyExc_ValueError);
    add(dimension_mismatch, "DimensionError", "An array of another shape than expected.",
        PyExc_ValueError);
    add(type_mismatch, "TypeMismatchError", "An array or argument of another type than expected.",
        PyExc_TypeError);
    add(not_finite, "NotFiniteError", "NaN or infinity among the values.", PyExc_ValueError);
    add(unsupported, "UnsupportedError", "A combination or an ability that does not exist.",
        PyExc_NotImplementedError);
    add(not_found, "NotFoundError", "An id or a section that is not there.", PyExc_LookupError);
    add(already_exists, "AlreadyExistsError", "An id that is taken.", PyExc_ValueError);
    add(io, "FileError", "The operating system refused to read or write.", PyExc_OSError);
    add(corrupt, "CorruptError", "Damaged or inconsistent bytes in a file.", PyExc_ValueError);
    add(version, "VersionError", "A file of a newer format than this build reads.",
        PyExc_ValueError);
    add(cancelled, "CancelledError", "A progress callback asked to stop.", PyExc_Exception);
    add(out_of_memory, "OutOfMemoryError", "An allocation failed.", PyExc_MemoryError);
    missing_file_class =
        add_class(module, not_found, "FileMissingError", "No such file or directory.",
                  classes[static_cast<std::size_t>(io)], PyExc_FileNotFoundError);

    py::register_exception_translator([](std::exception_ptr error) {
        if (!error) return;
        try {
            std::rethrow_exception(error);
        } catch (const Error& e) {
            translate(e);
        } catch (const std::bad_alloc&) {
            set_error(ErrorCode::out_of_memory, "out of memory");
        }
    });
}

}  // namespace kith::python
