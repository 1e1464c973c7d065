package openai

import (
	"net/url"
	"slices"
	"strconv"

	"descant/pkg/job"
)

// List is a page of objects.
type List[T any] struct {
	Object  string  `json:"object"` // list
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// NewList returns a page; id names an object.
func NewList[T any](data []T, hasMore bool, id func(T) string) List[T] {
	list := List[T]{Object: "list", Data: data, HasMore: hasMore}
	if list.Data == nil {
		list.Data = []T{}
	}
	if len(data) > 0 {
		first, last := id(data[0]), id(data[len(data)-1])
		list.FirstID, list.LastID = &first, &last
	}
	return list
}

// Page is which part of a list is wanted.
type Page struct {
	After string // id of the last object of the page before
	Limit int
}

// ReadPage reads after and limit, of which the page has usual and may have at most most. Any other parameter than these
// and those in also is refused.
func ReadPage(query url.Values, usual, most int, also ...string) (Page, error) {
	page := Page{Limit: usual}
	for name, values := range query {
		switch {
		case name != "after" && name != "limit" && !slices.Contains(also, name):
			return page, Invalid(name, CodeUnknownParameter, "%s is not a parameter of this list; it has %v", name, append([]string{"after", "limit"}, also...))
		case len(values) > 1:
			return page, Invalid(name, CodeInvalidValue, "%s is given %d times", name, len(values))
		}
	}
	page.After = query.Get("after")
	if query.Has("limit") {
		limit, err := strconv.Atoi(query.Get("limit"))
		if err != nil || limit < 1 || limit > most {
			return page, Invalid("limit", CodeInvalidValue, "limit is %q: use a whole number from 1 to %d", query.Get("limit"), most)
		}
		page.Limit = limit
	}
	return page, nil
}

// Cut returns the page of a whole list. An After that the list does not have is an error.
func Cut[T any](all []T, page Page, id func(T) string) (List[T], error) {
	if page.After != "" {
		i := slices.IndexFunc(all, func(one T) bool { return id(one) == page.After })
		if i < 0 {
			return List[T]{}, NotFound("after", string(job.CodeNotFound), "after is %q, which this list does not have", page.After)
		}
		all = all[i+1:]
	}
	more := len(all) > page.Limit
	return NewList(all[:min(len(all), page.Limit)], more, id), nil
}
