/* A latency histogram with buckets of equal relative width (under 1.6 percent), in nanoseconds. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define SUB_BITS 6
#define SUB_BUCKETS (1u << SUB_BITS)
#define HISTOGRAM_BUCKETS ((64 - SUB_BITS + 1) * SUB_BUCKETS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t sum;
    uint64_t maximum;
};

static inline unsigned histogram_index(uint64_t value)
{
    if (value < SUB_BUCKETS)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
    return (shift + 1) * SUB_BUCKETS + (unsigned)((value >> shift) - SUB_BUCKETS);
}

/* The middle of a bucket. */
static inline uint64_t histogram_value(unsigned index)
{
    if (index < SUB_BUCKETS)
        return index;
    unsigned shift = index / SUB_BUCKETS - 1;
    uint64_t low = (uint64_t)(SUB_BUCKETS + index % SUB_BUCKETS) << shift;
    return low + ((1ull << shift) >> 1);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->counts[histogram_index(value)]++;
    histogram->total++;
    histogram->sum += value;
    if (value > histogram->maximum)
        histogram->maximum = value;
}

static inline uint64_t histogram_percentile(const struct histogram *histogram, double fraction)
{
    uint64_t rank = (uint64_t)(fraction * (double)histogram->total);
    uint64_t seen = 0;
    if (rank >= histogram->total)
        return histogram->maximum;
    for (unsigned index = 0; index < HISTOGRAM_BUCKETS; index++) {
        seen += histogram->counts[index];
        if (seen > rank)
            return histogram_value(index);
    }
    return histogram->maximum;
}

#endif
