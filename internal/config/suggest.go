package config

import "strings"

// suggest returns the known word that the writer of word most likely
// meant, or nothing.
func suggest(word string, known []string) string {
	word = strings.ToLower(word)
	// A third of the letters may be wrong, and one more: a hint that is further off
	// helps less than none.
	best, least := "", len(word)/3+2
	for _, k := range known {
		d := distance(word, k)
		if longer(word, k) {
			d = 1
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

// longer reports whether one of the words begins with the other and an
// underscore: "password" for "password_file".
func longer(a, b string) bool {
	return strings.HasPrefix(a, b+"_") || strings.HasPrefix(b, a+"_")
}

// maxWord is the longest word that is compared; our keys are half as long.
const maxWord = 64

// distance returns how many letters must be added, taken away, changed or
// swapped with a neighbour to make a into b (Damerau and Levenshtein's distance
// in its restricted form).
func distance(a, b string) int {
	if len(a) > maxWord {
		return len(a)
	}
	var old []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := prev[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, prev[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], old[j-2]+1)
			}
		}
		old, prev = prev, row
	}
	return prev[len(b)]
}
