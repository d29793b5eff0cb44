/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What bcc's dialect lacks: the same words as in plain clang's, and a ring buffer whose records Python knows. */
#ifndef KL_BCC_H
#define KL_BCC_H

/* bcc brings the helpers; Python reads the hook of a program from the same SEC() in the source text. */
#define SEC(name)
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define LICENSE(text) /* bcc says GPL by itself */

/* bcc's own ring buffer macro has an integer as leaf; with the record as leaf, Python learns its layout. */
#define RINGBUF(record, name, size)                  \
	struct name##_table_t {                      \
		int key;                             \
		record leaf;                         \
		void *(*ringbuf_reserve)(u64);       \
		void (*ringbuf_submit)(void *, u64); \
		u32 max_entries;                     \
	};                                           \
	struct name##_table_t name                   \
		__attribute__((section("maps/ringbuf"))) = { .max_entries = (size) }

#endif
