package cli

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/pullchain/pullchain/internal/admin"
)

// pulls asks for the pulls that are known.
func (c *adminClient) pulls(ctx context.Context, query url.Values) (list admin.PullList, err error) {
	err = c.ask(ctx, "/api/v1/pulls?"+query.Encode(), &list)
	return list, err
}

// pull asks for one pull; ok is false if it is not known.
func (c *adminClient) pull(ctx context.Context, id string) (d admin.PullDetail, ok bool, err error) {
	ok, err = c.find(ctx, "/api/v1/pulls/"+url.PathEscape(id), &d)
	return d, ok, err
}

// request asks for one request; ok is false if it is not known.
func (c *adminClient) request(ctx context.Context, id string) (d admin.RequestDetail, ok bool, err error) {
	ok, err = c.find(ctx, "/api/v1/requests/"+url.PathEscape(id), &d)
	return d, ok, err
}

// ask is get within the time that a daemon has to copy values.
func (c *adminClient) ask(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	return c.get(ctx, path, out)
}

// find is ask for something that may not be there.
func (c *adminClient) find(ctx context.Context, path string, out any) (bool, error) {
	err := c.ask(ctx, path, out)
	if said, ok := errors.AsType[*apiError](err); ok && said.Status == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}
