/*
 * Growth: the weights of a model from those of a smaller one, so that it begins as the smaller one ends. A
 * parameter of the same name and shape is copied; of mixtures (model.moe.select topk on both sides):
 *
 *   more experts     n experts become m n: expert j is number j / m of the smaller model, its router's row
 *                    too, with noise N(0, (noise rms(row))^2) in all but the first of m, for equal rows would
 *                    leave every copy but the lowest idle. top_k must be 1 on both sides, or m times as large
 *   from a dense FFN (sparse upcycling, Komatsuzaki et al. 2023, arXiv:2212.05055) ffn.in and ffn.out without
 *                    biases, G times as wide as an expert, become n experts: expert j is shard j mod G. The
 *                    router begins by the seed; with G > 1 rows j - j mod G to j of it are equal, so that the
 *                    choices, a multiple of G, hold whole copies (He et al. 2024, arXiv:2410.07524, section 4)
 *
 * What training moves by a rule (a bias, a capacity: train/control.h) begins by that rule where the smaller model has
 * none. Experts of unequal widths (model.moe.expert_sizes) are copied where they are the same in both, else refused.
 *
 * What experts give is scaled where they are last: by G / (k w) from a dense FFN, by k w / (k' w') of the two
 * mixtures, with k choices and w the weight of one where the router is even (1 / n for softmax, 1/2 for
 * sigmoid, 1 / k for renorm, else 1; times weight_scale; 1 where projections add up what a shared router chose).
 * He et al. have the same factor, in equal parts on all matrices of an expert.
 */
#ifndef TRAIN_GROW_H
#define TRAIN_GROW_H

#include "nn/moe.h"
#include "train/setup.h"

/* The mixture of a model's keys; NULL: it has none, or has them in model.pattern. */
const struct moe_spec *grow_mixture(const struct model *m);
/* Into s, allocated on a host device and with the weights of its seed, from the checkpoint of a run whose
   mixture was `from`. 0, or -1 after a message: a parameter that no rule makes. A warning where the checkpoint has
   one that goes nowhere, or the larger model norms what nothing normed (model.moe.out_norm). */
int grow_weights(struct setup *s, const char *checkpoint, const struct moe_spec *from, double noise);
/* The weights as a file that train.init_from takes. 0, or -1 after a message. */
int grow_write(const struct setup *s, const char *path, const char *grown_from);

#endif
