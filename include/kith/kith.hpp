// SPDX-License-Identifier: Apache-2.0
//
// All of kith that is compiled for types you name, one line a layer, in the order of the layers (docs/ARCHITECTURE.md).
// An index whose type is known only at run time, from a spec string or a file: include kith/any/registry.hpp.
#pragma once

#include "kith/core/executor.hpp"      // core: slots, matrices, buffers, collectors, results, parameters, threads
#include "kith/core/random.hpp"
#include "kith/simd/kernels.hpp"       // simd: kernels, one table for each instruction set
#include "kith/metric/metric.hpp"      // metric: l2, euclidean, ip, cosine, l1, hamming, jaccard, your own
#include "kith/storage/rows.hpp"       // storage: rows owned, borrowed or mapped; index files; vector files
#include "kith/storage/vector_files.hpp"
#include "kith/quantize/kmeans.hpp"    // quantize: k-means; codecs are in the spaces that use them
#include "kith/space/dense.hpp"        // space: a metric over rows, or over codes of them
#include "kith/space/pq_space.hpp"
#include "kith/space/rabitq_space.hpp"
#include "kith/space/sq4_space.hpp"
#include "kith/space/sq8_space.hpp"
#include "kith/filter/filter.hpp"      // filter: what may be returned
#include "kith/index/flat.hpp"         // index: structures over a space, exact rows behind codes, ids, batches, changes beside searches
#include "kith/index/hnsw.hpp"
#include "kith/index/ivf.hpp"
#include "kith/index/ivf_pq.hpp"
#include "kith/index/lsh.hpp"
#include "kith/index/vamana.hpp"
#include "kith/index/refine.hpp"
#include "kith/index/keyed.hpp"
#include "kith/index/concurrent.hpp"
