"""Problems made by formula, on which published results are repeated."""
