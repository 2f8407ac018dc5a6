package policy

import "strings"

// Suggest returns the hint `did you mean "X"?` for the name of names that is
// nearest to s, or "" when none is near.
func Suggest(s string, names []string) string {
	if name := Nearest(s, names); name != "" {
		return `did you mean "` + name + `"?`
	}
	return ""
}

// maxListed bounds the names that a hint lists; all names of calls would be
// some hundred lines.
const maxListed = 48

// OneOf is Suggest, and where no name is near a hint that lists them all, or ""
// when they are too many.
func OneOf(s string, names []string) string {
	hint := Suggest(s, names)
	if hint == "" && len(names) > 0 && len(names) <= maxListed {
		hint = "one of: " + strings.Join(names, ", ")
	}
	return hint
}

// maxSuggest bounds the length of what is compared: the work is its square.
const maxSuggest = 64

// Nearest returns the name with the smallest edit distance (a swap of
// neighbours counts as one) when that is at most a third of its length, at
// least 1. Of names of equal distance it is the one that begins like s for
// longest, of those the first. Where none is so near it is the first that
// differs in case or in a prefix alone (AF_INET, NET_RAW), else "".
func Nearest(s string, names []string) string {
	if len(s) > maxSuggest {
		return ""
	}
	best, bestDistance, bestBegin := "", maxSuggest, 0
	for _, name := range names {
		if len(name) > maxSuggest {
			continue
		}
		limit := max(1, max(len(s), len(name))/3)
		d, begin := distance(s, name), common(s, name)
		if d <= limit && (d < bestDistance || d == bestDistance && begin > bestBegin) {
			best, bestDistance, bestBegin = name, d, begin
		}
	}
	if best != "" {
		return best
	}
	for _, name := range names {
		a, b := strings.ToLower(s), strings.ToLower(name)
		if a == b || strings.HasSuffix(a, "_"+b) || a != "" && strings.HasSuffix(b, "_"+a) {
			return name
		}
	}
	return ""
}

// common is how many bytes two texts begin with alike.
func common(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// distance is the optimal string alignment distance in bytes.
func distance(a, b string) int {
	var rows [3][maxSuggest + 1]int
	before, prev, row := &rows[0], &rows[1], &rows[2]
	for j := 0; j < len(b); j++ {
		prev[j+1] = j + 1
	}
	for i := 0; i < len(a); i++ {
		row[0] = i + 1
		for j := 0; j < len(b); j++ {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(prev[j]+cost, prev[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
