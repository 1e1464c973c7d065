package grammar

import (
	"fmt"
	"math/big"
	"strings"
)

// decimal is a bound of numbers that is not negative, as digits before and behind the point, the latter without zeros at
// the end. open says that the bound itself is outside.
type decimal struct {
	whole *big.Int
	tail  string
	open  bool
}

// largest is behind every number that is written.
func largest() decimal {
	return decimal{new(big.Int).Exp(big.NewInt(10), big.NewInt(maxDigits), nil), "", true}
}

// bounded lists expressions for the numbers within bounds, nil for none. They have no exponent.
func bounded(low, high *signed) (list []string) {
	if high == nil {
		high = &signed{decimal: largest()}
	}
	if low == nil {
		low = &signed{true, largest()}
	}
	if low.negative {
		nearest := decimal{whole: new(big.Int)} // the bound on the side of zero
		if high.negative || high.zero() && high.open {
			nearest = high.decimal
		}
		for _, expr := range decimals(nearest, low.decimal) {
			list = append(list, "-"+expr)
		}
		low = &signed{}
		low.whole = new(big.Int)
	}
	if !high.negative {
		list = append(list, decimals(low.decimal, high.decimal)...)
	}
	return list
}

// signed is a bound of either sign.
type signed struct {
	negative bool
	decimal
}

func (d decimal) zero() bool { return d.whole.Sign() == 0 && d.tail == "" }

// signedBound reads a bound; an exponent could stand for a number that fills the memory.
func signedBound(v *value, open bool) (*signed, bool) {
	if v.kind != number || strings.ContainsAny(v.text, "eE") || len(v.text) > 40 {
		return nil, false
	}
	text, negative := strings.CutPrefix(v.text, "-")
	whole, tail, _ := strings.Cut(text, ".")
	out := &signed{negative, decimal{new(big.Int), strings.TrimRight(tail, "0"), open}}
	out.whole.SetString(whole, 10)
	if out.zero() {
		out.negative = false
	}
	return out, out.whole.Cmp(largest().whole) < 0 && len(out.tail) < maxDigits
}

// decimals lists expressions for the numbers from low to high.
func decimals(low, high decimal) (list []string) {
	one := big.NewInt(1)
	switch low.whole.Cmp(high.whole) {
	case 1:
		return nil
	case 0:
		return behind(low.whole.String(), low.tail, low.open, &high)
	}
	list = behind(low.whole.String(), low.tail, low.open, nil)
	from, to := new(big.Int).Add(low.whole, one), new(big.Int).Sub(high.whole, one)
	for _, expr := range between(from, to) {
		list = append(list, fmt.Sprintf(`%s(\.[0-9]{1,%d})?`, expr, maxDigits))
	}
	if high.whole.Cmp(largest().whole) < 0 {
		list = append(list, behind(high.whole.String(), "", false, &high)...)
	}
	return list
}

// behind lists a whole number with what may stand behind its point: from low on, up to a bound if there is one.
func behind(whole, low string, open bool, high *decimal) (list []string) {
	f := fractions{low: low, lowOpen: open}
	if high != nil {
		f.bounded, f.high, f.highOpen = true, high.tail, high.open
	}
	if f.empty() {
		list = append(list, whole)
	}
	for _, digits := range f.digits(1, maxDigits) {
		list = append(list, whole+`\.`+digits)
	}
	return list
}

// fractions are the digits behind a point from low to high, which are digits too; without bounded there is no high.
type fractions struct {
	low      string
	lowOpen  bool
	bounded  bool
	high     string
	highOpen bool
}

// empty says whether no digits, which are zero, are within the bounds.
func (f fractions) empty() bool {
	return f.low == "" && !f.lowOpen && (!f.bounded || f.high != "" || !f.highOpen)
}

// digits lists expressions for at least least and at most left digits within the bounds: the first digit decides, or is
// that of a bound and leaves it to those behind it.
func (f fractions) digits(least, left int) (list []string) {
	if f.low == "" && !f.lowOpen && !f.bounded {
		return []string{fmt.Sprintf("[0-9]{%d,%d}", least, left)}
	}
	if least == 0 && f.empty() {
		list = append(list, "")
	}
	if left == 0 {
		return list
	}
	first, last := byte('0'), byte('9')
	lowRest, highRest := "", ""
	if f.low != "" {
		first, lowRest = f.low[0], f.low[1:]
	}
	if f.bounded {
		if last = '0'; f.high != "" {
			last, highRest = f.high[0], f.high[1:]
		}
	}
	for digit := first; digit <= last; digit++ {
		rest := fractions{}
		if digit == first {
			rest.low, rest.lowOpen = lowRest, f.lowOpen
		}
		if f.bounded && digit == last {
			rest.bounded, rest.high, rest.highOpen = true, highRest, f.highOpen
		}
		for _, expr := range rest.digits(0, left-1) {
			list = append(list, string(digit)+expr)
		}
	}
	return list
}
