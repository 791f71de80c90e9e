;; Weighted sums of px by SIMD, for `resample.js`. A px is four bytes: red, green, blue, opacity. All
;; numbers are i32, addresses in bytes.
;;
;; Weights have 22 fractional bits. Sums start at one half, 1 << 21, so that shifting those bits out
;; rounds. The instructions that narrow to bytes clip as well.
(module
  (memory (export "memory") 1)

  ;; Resample `rows` rows of `width` px at `source` to rows of `newWidth` px at `result`: px `x` is the
  ;; sum of `counts[x]` px of the row, from px `starts[x]` on, with the weights from
  ;; `factors[x * most]` on.
  (func (export "across")
    (param $source i32) (param $width i32) (param $rows i32)
    (param $result i32) (param $newWidth i32)
    (param $starts i32) (param $counts i32) (param $factors i32) (param $most i32)
    (local $x i32) (local $start i32) (local $count i32) (local $factor i32)
    (local $from i32) (local $left i32) (local $sum v128)
    (loop $nextRow
      (local.set $start (local.get $starts))
      (local.set $count (local.get $counts))
      (local.set $factor (local.get $factors))
      (local.set $x (local.get $newWidth))
      (loop $nextPixel
        (local.set $sum (i32x4.splat (i32.const 2097152)))
        (local.set $from
          (i32.add (local.get $source) (i32.shl (i32.load (local.get $start)) (i32.const 2))))
        (local.set $left (i32.load (local.get $count)))
        (loop $nextTap
          (local.set $sum
            (i32x4.add
              (local.get $sum)
              (i32x4.mul
                (i32x4.extend_low_i16x8_u
                  (i16x8.extend_low_i8x16_u (v128.load32_zero (local.get $from))))
                (v128.load32_splat (local.get $factor)))))
          (local.set $from (i32.add (local.get $from) (i32.const 4)))
          (local.set $factor (i32.add (local.get $factor) (i32.const 4)))
          (br_if $nextTap (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (local.set $sum (i32x4.shr_s (local.get $sum) (i32.const 22)))
        (local.set $sum (i16x8.narrow_i32x4_s (local.get $sum) (local.get $sum)))
        (v128.store32_lane 0
          (local.get $result) (i8x16.narrow_i16x8_u (local.get $sum) (local.get $sum)))
        (local.set $result (i32.add (local.get $result) (i32.const 4)))
        ;; Skip the unused weights of this px.
        (local.set $factor
          (i32.add
            (local.get $factor)
            (i32.shl
              (i32.sub (local.get $most) (i32.load (local.get $count)))
              (i32.const 2))))
        (local.set $start (i32.add (local.get $start) (i32.const 4)))
        (local.set $count (i32.add (local.get $count) (i32.const 4)))
        (br_if $nextPixel (local.tee $x (i32.sub (local.get $x) (i32.const 1)))))
      (local.set $source
        (i32.add (local.get $source) (i32.shl (local.get $width) (i32.const 2))))
      (br_if $nextRow (local.tee $rows (i32.sub (local.get $rows) (i32.const 1))))))

  ;; Write one row at `result`: the sum of `count` rows from `source` on, `length` bytes each, with
  ;; the weights at `factors`. It works on four px at a time and may read and write 12 bytes too many.
  (func (export "down")
    (param $source i32) (param $length i32) (param $result i32)
    (param $factors i32) (param $count i32)
    (local $end i32) (local $from i32) (local $factor i32) (local $left i32)
    (local $weight v128) (local $bytes v128) (local $half v128)
    (local $first v128) (local $second v128) (local $third v128) (local $fourth v128)
    (local.set $end (i32.add (local.get $result) (local.get $length)))
    (loop $nextPixels
      (local.set $first (i32x4.splat (i32.const 2097152)))
      (local.set $second (local.get $first))
      (local.set $third (local.get $first))
      (local.set $fourth (local.get $first))
      (local.set $from (local.get $source))
      (local.set $factor (local.get $factors))
      (local.set $left (local.get $count))
      (loop $nextTap
        (local.set $weight (v128.load32_splat (local.get $factor)))
        (local.set $bytes (v128.load (local.get $from)))
        (local.set $half (i16x8.extend_low_i8x16_u (local.get $bytes)))
        (local.set $first
          (i32x4.add (local.get $first)
            (i32x4.mul (local.get $weight) (i32x4.extend_low_i16x8_u (local.get $half)))))
        (local.set $second
          (i32x4.add (local.get $second)
            (i32x4.mul (local.get $weight) (i32x4.extend_high_i16x8_u (local.get $half)))))
        (local.set $half (i16x8.extend_high_i8x16_u (local.get $bytes)))
        (local.set $third
          (i32x4.add (local.get $third)
            (i32x4.mul (local.get $weight) (i32x4.extend_low_i16x8_u (local.get $half)))))
        (local.set $fourth
          (i32x4.add (local.get $fourth)
            (i32x4.mul (local.get $weight) (i32x4.extend_high_i16x8_u (local.get $half)))))
        (local.set $from (i32.add (local.get $from) (local.get $length)))
        (local.set $factor (i32.add (local.get $factor) (i32.const 4)))
        (br_if $nextTap (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (v128.store
        (local.get $result)
        (i8x16.narrow_i16x8_u
          (i16x8.narrow_i32x4_s
            (i32x4.shr_s (local.get $first) (i32.const 22))
            (i32x4.shr_s (local.get $second) (i32.const 22)))
          (i16x8.narrow_i32x4_s
            (i32x4.shr_s (local.get $third) (i32.const 22))
            (i32x4.shr_s (local.get $fourth) (i32.const 22)))))
      (local.set $source (i32.add (local.get $source) (i32.const 16)))
      (local.set $result (i32.add (local.get $result) (i32.const 16)))
      (br_if $nextPixels (i32.lt_u (local.get $result) (local.get $end))))))
