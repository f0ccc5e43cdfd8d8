"""Prices, usage, charges, budgets, holds on spending, invoices. Never calls up."""
