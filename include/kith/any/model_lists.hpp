// SPDX-License-Identifier: Apache-2.0
//
// Which index types each file of any/models compiles; what any/registry.hpp lists as types is here once more as macros, since explicit instantiations have to be written out. The linker
// tells what is missing here.
#pragma once

/// Instantiates one index type, or only declares it (PREFIX extern).
#define KITH_MODEL(PREFIX, ...)                                                                                                     \
    PREFIX template std::unique_ptr<AnyModel> build_model<__VA_ARGS__>(AnyMatrix, const Spec&, const BuildOptions&, Executor&); \
    PREFIX template std::unique_ptr<AnyModel> load_model<__VA_ARGS__>(const SectionReader&);
/// Every structure over one space.
#define KITH_MODELS(PREFIX, ...)              \
    KITH_MODEL(PREFIX, Flat<__VA_ARGS__>)     \
    KITH_MODEL(PREFIX, Hnsw<__VA_ARGS__>)     \
    KITH_MODEL(PREFIX, Vamana<__VA_ARGS__>)
#define KITH_REFINED_MODELS(PREFIX, I, ...) \
    KITH_MODEL(PREFIX, I<__VA_ARGS__>)      \
    KITH_MODEL(PREFIX, Refine<I<__VA_ARGS__>>)
#define KITH_DENSE_MODELS(PREFIX, T)                  \
    KITH_MODELS(PREFIX, DenseSpace<L2, T>)            \
    KITH_MODELS(PREFIX, DenseSpace<Euclidean, T>)     \
    KITH_MODELS(PREFIX, DenseSpace<InnerProduct, T>)  \
    KITH_MODELS(PREFIX, DenseSpace<Cosine, T>)        \
    KITH_MODELS(PREFIX, DenseSpace<L1, T>)
#define KITH_CODEC_MODELS(PREFIX, ...)                \
    KITH_MODELS(PREFIX, __VA_ARGS__)                  \
    KITH_MODEL(PREFIX, Refine<Flat<__VA_ARGS__>>)     \
    KITH_MODEL(PREFIX, Refine<Hnsw<__VA_ARGS__>>)     \
    KITH_MODEL(PREFIX, Refine<Vamana<__VA_ARGS__>>)

#define KITH_PQ_SPACE_MODELS(PREFIX, ...)          \
    KITH_REFINED_MODELS(PREFIX, Flat, __VA_ARGS__) \
    KITH_REFINED_MODELS(PREFIX, Hnsw, __VA_ARGS__)
#define KITH_SMALL_CODEC_MODELS(PREFIX, ...)       \
    KITH_PQ_SPACE_MODELS(PREFIX, __VA_ARGS__)      \
    KITH_REFINED_MODELS(PREFIX, Ivf, __VA_ARGS__)
#define KITH_IVF_PQ_MODEL(PREFIX, M)         \
    KITH_MODEL(PREFIX, IvfPq<M, float>)      \
    KITH_MODEL(PREFIX, Refine<IvfPq<M, float>>)

/// What each file of any/models compiles.
#if defined(KITH_FEW_SPACES)
#if defined(KITH_FEWEST_SPACES)
#define KITH_FEW(...)
#else
#define KITH_FEW(...) __VA_ARGS__
#endif
#define KITH_F32_MODELS(PREFIX)                \
    KITH_MODELS(PREFIX, DenseSpace<L2, float>) \
    KITH_FEW(KITH_MODELS(PREFIX, DenseSpace<InnerProduct, float>) KITH_MODELS(PREFIX, DenseSpace<Cosine, float>))
#define KITH_F16_MODELS(PREFIX) KITH_FEW(KITH_MODELS(PREFIX, DenseSpace<L2, Half>))
#define KITH_BF16_MODELS(PREFIX)
#define KITH_I8_MODELS(PREFIX) KITH_FEW(KITH_MODELS(PREFIX, DenseSpace<Cosine, std::int8_t>))
#define KITH_U8_MODELS(PREFIX) KITH_FEW(KITH_MODELS(PREFIX, DenseSpace<L2, std::uint8_t>))
#define KITH_B1_MODELS(PREFIX) KITH_MODELS(PREFIX, DenseSpace<Hamming, Bits8>)
#define KITH_SQ8_F32_MODELS(PREFIX) KITH_CODEC_MODELS(PREFIX, Sq8Space<L2, float>)
#define KITH_SQ8_F16_MODELS(PREFIX)
#define KITH_IVF_MODELS(PREFIX)                                       \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<L2, float>>)                    \
    KITH_FEW(KITH_MODEL(PREFIX, Ivf<DenseSpace<InnerProduct, float>>) \
             KITH_MODEL(PREFIX, Ivf<DenseSpace<Cosine, float>>)       \
             KITH_MODEL(PREFIX, Ivf<DenseSpace<L2, Half>>)            \
             KITH_MODEL(PREFIX, Ivf<DenseSpace<L2, std::uint8_t>>))   \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<Hamming, Bits8>>)
#define KITH_IVF_SQ8_MODELS(PREFIX) KITH_REFINED_MODELS(PREFIX, Ivf, Sq8Space<L2, float>)
#define KITH_PQ_MODELS(PREFIX) KITH_PQ_SPACE_MODELS(PREFIX, PqSpace<L2, float>)
#define KITH_SQ4_MODELS(PREFIX) KITH_SMALL_CODEC_MODELS(PREFIX, Sq4Space<L2, float>)
#define KITH_RABITQ_MODELS(PREFIX) KITH_SMALL_CODEC_MODELS(PREFIX, RabitqSpace<L2, float>)
#define KITH_IVF_PQ_MODELS(PREFIX) KITH_IVF_PQ_MODEL(PREFIX, L2)
#define KITH_LSH_MODELS(PREFIX)                                       \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<L2, float>>)                    \
    KITH_FEW(KITH_MODEL(PREFIX, Lsh<DenseSpace<InnerProduct, float>>) \
             KITH_MODEL(PREFIX, Lsh<DenseSpace<Cosine, float>>)       \
             KITH_MODEL(PREFIX, Lsh<DenseSpace<L2, Half>>)            \
             KITH_MODEL(PREFIX, Lsh<DenseSpace<Cosine, std::int8_t>>) \
             KITH_MODEL(PREFIX, Lsh<DenseSpace<L2, std::uint8_t>>))   \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<Hamming, Bits8>>)               \
    KITH_REFINED_MODELS(PREFIX, Lsh, Sq8Space<L2, float>)
#else
#define KITH_F32_MODELS(PREFIX) KITH_DENSE_MODELS(PREFIX, float)
#define KITH_F16_MODELS(PREFIX) KITH_DENSE_MODELS(PREFIX, Half)
#define KITH_BF16_MODELS(PREFIX) KITH_DENSE_MODELS(PREFIX, BFloat16)
#define KITH_I8_MODELS(PREFIX) KITH_DENSE_MODELS(PREFIX, std::int8_t)
#define KITH_U8_MODELS(PREFIX) KITH_DENSE_MODELS(PREFIX, std::uint8_t)
#define KITH_B1_MODELS(PREFIX)                        \
    KITH_MODELS(PREFIX, DenseSpace<Hamming, Bits8>)   \
    KITH_MODELS(PREFIX, DenseSpace<Jaccard, Bits8>)
#define KITH_SQ8_MODELS(PREFIX, T)                       \
    KITH_CODEC_MODELS(PREFIX, Sq8Space<L2, T>)           \
    KITH_CODEC_MODELS(PREFIX, Sq8Space<InnerProduct, T>) \
    KITH_CODEC_MODELS(PREFIX, Sq8Space<Cosine, T>)
#define KITH_SQ8_F32_MODELS(PREFIX) KITH_SQ8_MODELS(PREFIX, float)
#define KITH_SQ8_F16_MODELS(PREFIX) KITH_SQ8_MODELS(PREFIX, Half)
#define KITH_IVF_MODELS(PREFIX)                                \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<L2, float>>)             \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<InnerProduct, float>>)   \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<Cosine, float>>)         \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<L2, Half>>)              \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<Cosine, Half>>)          \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<L2, std::uint8_t>>)      \
    KITH_MODEL(PREFIX, Ivf<DenseSpace<Hamming, Bits8>>)
#define KITH_IVF_SQ8_MODELS(PREFIX)                                   \
    KITH_REFINED_MODELS(PREFIX, Ivf, Sq8Space<L2, float>)             \
    KITH_REFINED_MODELS(PREFIX, Ivf, Sq8Space<InnerProduct, float>)   \
    KITH_REFINED_MODELS(PREFIX, Ivf, Sq8Space<Cosine, float>)
#define KITH_PQ_MODELS(PREFIX)                                   \
    KITH_PQ_SPACE_MODELS(PREFIX, PqSpace<L2, float>)             \
    KITH_PQ_SPACE_MODELS(PREFIX, PqSpace<InnerProduct, float>)   \
    KITH_PQ_SPACE_MODELS(PREFIX, PqSpace<Cosine, float>)
#define KITH_SQ4_MODELS(PREFIX)                                     \
    KITH_SMALL_CODEC_MODELS(PREFIX, Sq4Space<L2, float>)            \
    KITH_SMALL_CODEC_MODELS(PREFIX, Sq4Space<InnerProduct, float>)  \
    KITH_SMALL_CODEC_MODELS(PREFIX, Sq4Space<Cosine, float>)
#define KITH_RABITQ_MODELS(PREFIX)                                     \
    KITH_SMALL_CODEC_MODELS(PREFIX, RabitqSpace<L2, float>)            \
    KITH_SMALL_CODEC_MODELS(PREFIX, RabitqSpace<InnerProduct, float>)  \
    KITH_SMALL_CODEC_MODELS(PREFIX, RabitqSpace<Cosine, float>)
#define KITH_IVF_PQ_MODELS(PREFIX)          \
    KITH_IVF_PQ_MODEL(PREFIX, L2)           \
    KITH_IVF_PQ_MODEL(PREFIX, InnerProduct) \
    KITH_IVF_PQ_MODEL(PREFIX, Cosine)
#define KITH_LSH_MODELS(PREFIX)                                     \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<L2, float>>)                  \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<InnerProduct, float>>)        \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<Cosine, float>>)              \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<L1, float>>)                  \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<L2, Half>>)                   \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<Cosine, Half>>)               \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<Cosine, std::int8_t>>)        \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<L2, std::uint8_t>>)           \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<Hamming, Bits8>>)             \
    KITH_MODEL(PREFIX, Lsh<DenseSpace<Jaccard, Bits8>>)             \
    KITH_REFINED_MODELS(PREFIX, Lsh, Sq8Space<L2, float>)           \
    KITH_REFINED_MODELS(PREFIX, Lsh, Sq8Space<InnerProduct, float>) \
    KITH_REFINED_MODELS(PREFIX, Lsh, Sq8Space<Cosine, float>)
#endif
