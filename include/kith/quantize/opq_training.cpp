// SPDX-License-Identifier: Apache-2.0
// Part of kith::kernels: the training of OPQ's rotation, compiled once.
#include "kith/quantize/opq_training.hpp"

namespace kith {

template OpqRotation detail::principal_rotation<float>(MatrixView<const float>, std::size_t, Executor&);
template TrainedOpq train_opq<float>(MatrixView<const float>, const PqParams&, std::uint64_t, Executor&, const Progress&);

}  // namespace kith
